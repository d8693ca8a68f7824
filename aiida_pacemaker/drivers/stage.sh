# Files that this computer has already are taken from its cache, and those that were sent are kept there for later jobs.
#
#   sh stage.sh             before the program: does what `stage.list` says; what cannot be had is said in `stage.lost`
#   sh stage.sh keep FILE   after it, or by it: keeps a result; of a potential also without its `_fit_cycles`, which is
#                           how a fit goes on from it. What is kept is listed in `stage.kept`, a line `CHECKSUM FILE`
#
# Lines of `stage.list`:
#
#   cache DIRECTORY
#   sent CHECKSUM FILE    FILE came with the job, and is kept
#   held CHECKSUM FILE    FILE is to be a file of the cache
#   from - FILE PATH      FILE is to be a file in the folder of another job
#
# Files of the cache are named by their SHA-256, which the one who sent the job knows: whatever the cache has, no file
# with another content is put in place. It is looked at where it has been put, as a file of this account that nobody
# else can write to, so that nothing can be exchanged between its checksum and the program. The cache is a directory of
# this account alone; any other is not used. When a file was touched last is when it was used last.
umask 077
cache=$(sed -n 's/^cache //p' stage.list)
me=$(id -u)
missing=

digest() {
  if command -v sha256sum > /dev/null 2>&1; then
    sha256sum < "$1"
  else
    shasum -a 256 < "$1"
  fi | cut -c 1-64
}

# A file of this account that no other can write to.
is_private() {
  [ -n "$(find "$1" -prune -type f -user "$me" ! -perm -020 ! -perm -002 2> /dev/null)" ]
}

# A directory of this account that no other can look into.
is_cache() {
  [ -n "$(find "$cache" -prune -type d -user "$me" ! -perm -040 ! -perm -020 ! -perm -010 ! -perm -004 ! -perm -002 \
    ! -perm -001 2> /dev/null)" ]
}

# Somebody may have a file open for writing since a time when it could be written to: then a copy is taken instead.
make_private() {
  is_private "$1" || { cp "$1" stage.part && mv -f stage.part "$1"; }
}

share() {
  rm -f "$2"
  { is_private "$1" && ln "$1" "$2" 2> /dev/null; } || cp "$1" "$2" 2> /dev/null
}

# A cache that cannot be written to costs time, not results.
keep() {
  [ -n "$cache" ] || return 1
  mkdir -p "$cache" 2> /dev/null
  if ! is_cache; then
    echo "stage.sh: $1 is not kept, since $cache is not a directory of $(id -un) alone"
    return 1
  fi
  chmod a-w "$1"
  if is_private "$cache/$2" && [ "$(digest "$cache/$2")" = "$2" ]; then
    touch -c "$cache/$2"
    return 0
  fi
  part="$cache/.$2.$(uname -n).$$"
  share "$1" "$part" && mv -f "$part" "$cache/$2" && return 0
  rm -f "$part"
  echo "stage.sh: $1 could not be kept in $cache"
  return 1
}

# A file that came from the cache, or that was kept already, and has not been replaced since.
is_kept() {
  for sum in $(awk -v file="$1" '$1 == "held" && $3 == file { print $2 }' stage.list) \
    $(awk -v file="$1" '$2 == file { print $1 }' stage.kept 2> /dev/null); do
    [ "$1" -ef "$cache/$sum" ] && return 0
  done
  return 1
}

# Not told by the size of a file, which a full disk keeps empty.
lost() {
  missing=yes
  rm -f "$2"
  echo "stage.sh lost: $*" >&2
  echo "$*" >> stage.lost
}

if [ "$1" = keep ]; then
  [ -f "$2" ] && ! is_kept "$2" && make_private "$2" || exit 0
  sum=$(digest "$2")
  keep "$2" "$sum" && echo "$sum $2" >> stage.kept
  if grep -q '^[[:blank:]]*_fit_cycles:' "$2"; then
    sed '/^[[:blank:]]*_fit_cycles:/d' "$2" > stage.fit && keep stage.fit "$(digest stage.fit)"
    rm -f stage.fit
  fi
  exit 0
fi

rm -f stage.lost stage.kept
while read -r what sum file path; do
  case $what in
    sent)
      if make_private "$file" && [ "$(digest "$file")" = "$sum" ]; then
        keep "$file" "$sum"
      else
        lost "$what" "$file" 'did not arrive as it was sent'
      fi
      ;;
    held)
      if [ ! -e "$cache/$sum" ]; then
        lost "$what" "$file" 'is not in the cache any more'
      elif ! is_cache; then
        lost "$what" "$file" "is in a cache that is not of this account alone: $cache"
      elif ! share "$cache/$sum" "$file"; then
        lost "$what" "$file" 'could not be put in place: is the disk full, or a quota used up?'
      elif ! is_private "$file" || [ "$(digest "$file")" != "$sum" ]; then
        rm -f "$cache/$sum"
        lost "$what" "$file" 'was damaged in the cache'
      else
        chmod a-w "$file"
        touch -c "$cache/$sum"
      fi
      ;;
    from)
      share "$path" "$file" || lost "$what" "$file" "is not there any more: $path"
      ;;
  esac
done < stage.list
[ -z "$missing" ]
