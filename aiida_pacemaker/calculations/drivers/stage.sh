# Files that this computer has already are taken from its cache, and those that were sent are kept there for later jobs.
#
#   sh stage.sh             before the program: does what `stage.list` says; what cannot be had is said in `stage.lost`
#   sh stage.sh keep FILE   after it: keeps a result by its checksum; of a potential also without its `_fit_cycles`,
#                           which is how a fit goes on from it
#
# Lines of `stage.list`:
#
#   cache DIRECTORY
#   sent CHECKSUM FILE NAME   FILE came with the job, and is kept as NAME
#   held CHECKSUM FILE NAME   FILE is to be NAME of the cache; the checksum is `-` if only the cache knows it
#   from - FILE PATH          FILE is to be a file in the folder of another job
#
# Every file that is in place has the same content as when it was made, and is not lost with the cache: it is a hard
# link or a copy, and read-only, since other jobs may have the same. NAME.sha256 holds the checksum of NAME; when it was
# touched last is when NAME was used last.
umask 077
cache=$(sed -n 's/^cache //p' stage.list)

digest() {
  if command -v sha256sum > /dev/null 2>&1; then
    sha256sum < "$1"
  else
    shasum -a 256 < "$1"
  fi | cut -c 1-64
}

share() {
  rm -f "$2"
  ln "$1" "$2" 2> /dev/null || cp "$1" "$2" 2> /dev/null
}

# A cache that cannot be written to costs time, not results.
keep() {
  [ -f "$cache/$2" ] && [ -f "$cache/$2.sha256" ] && return
  part="$cache/.$2.$(uname -n).$$"
  chmod a-w "$1"
  mkdir -p "$cache" && share "$1" "$part" && mv -f "$part" "$cache/$2" \
    && echo "$3" > "$part" && mv -f "$part" "$cache/$2.sha256" \
    || echo "stage.sh: $2 could not be kept in $cache"
}

lost() {
  rm -f "$2"
  echo "$*" >> stage.lost
}

if [ "$1" = keep ]; then
  [ -f "$2" ] || exit 0
  sum=$(digest "$2")
  keep "$2" "$sum" "$sum"
  if grep -q '^[[:blank:]]*_fit_cycles:' "$2"; then
    sed '/^[[:blank:]]*_fit_cycles:/d' "$2" > stage.part
    sum=$(digest stage.part)
    keep stage.part "$sum" "$sum"
    rm -f stage.part
  fi
  exit 0
fi

rm -f stage.lost
while read -r what sum file name; do
  case $what in
    sent)
      if [ "$(digest "$file")" = "$sum" ]; then
        keep "$file" "$name" "$sum"
      else
        lost "$what" "$file" 'did not arrive as it was sent'
      fi
      ;;
    held)
      [ "$sum" != - ] || sum=$(cat "$cache/$name.sha256" 2> /dev/null)
      if ! share "$cache/$name" "$file"; then
        lost "$what" "$file" 'is not in the cache any more'
      elif [ "$(digest "$file")" != "$sum" ]; then
        rm -f "$cache/$name" "$cache/$name.sha256"
        lost "$what" "$file" 'was damaged in the cache'
      else
        touch -c "$cache/$name.sha256"
      fi
      ;;
    from)
      share "$name" "$file" || lost "$what" "$file" "is not there any more: $name"
      ;;
  esac
done < stage.list
[ ! -s stage.lost ]
