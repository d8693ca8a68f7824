# Looks for an engine on a computer. Sent as text over its transport, and run by bash as
#   bash -c TEXT probe QUESTION PATH CONDA FIRST MODULE...
# QUESTION  what to ask the Python of an engine (question.py)
# PATH      the environment of the engine, or the folder of its programs; may be empty
# CONDA     name or prefix of a conda environment; may be empty
# FIRST     folders, separated by colons, that are searched before PATH; may be empty
# MODULE    modules to load first
# What it finds is said in lines with a mark, since login shells say things of their own.
question=$1 path=$2 conda=$3 first=$4
shift 4
# As in jobs: an engine that needs them has them from its module or its code.
unset PYTHONPATH PYTHONHOME
programs='pacemaker pace_yaml2yace pace_activeset pace_select'

say() { printf '@pace@ %s %s\n' "$1" "$2"; }
runs() { [ -f "$1" ] && [ -x "$1" ]; }
expand() { case $1 in '~') printf %s "$HOME" ;; '~/'*) printf %s "$HOME/${1#'~/'}" ;; *) printf %s "$1" ;; esac }

for module in "$@"; do
  type module > /dev/null 2>&1 || { say error 'no module command'; exit 0; }
  module load "$module" || { say error "module $module"; exit 0; }
done

if [ -n "$conda" ]; then
  installed=$(type -P conda || type -P mamba) || installed=
  bases=("${CONDA_EXE:+$(dirname "$(dirname "$CONDA_EXE")")}" "${installed:+$(dirname "$(dirname "$installed")")}"
    "$MAMBA_ROOT_PREFIX" "$HOME"/{miniforge3,miniconda3,mambaforge,anaconda3,micromamba,.conda,.local/share/mamba}
    /opt/{conda,miniforge3,miniconda3,anaconda3})
  prefix=
  case $conda in
    */* | '~') prefix=$(expand "$conda") ;;
    *)
      for base in "${bases[@]}"; do
        [ -n "$base" ] || continue
        if [ "$conda" = base ]; then found=$base; else found=$base/envs/$conda; fi
        [ -d "$found/conda-meta" ] && { prefix=$found; break; }
      done
      # conda keeps a list of what it has made elsewhere.
      if [ -z "$prefix" ] && [ -r ~/.conda/environments.txt ]; then
        while read -r found; do
          [ "${found##*/}" = "$conda" ] && [ -d "$found/conda-meta" ] && prefix=$found
        done < ~/.conda/environments.txt
      fi
      ;;
  esac
  [ -n "$prefix" ] && [ -d "$prefix/bin" ] || { say error "conda ${prefix:-$conda}"; exit 0; }
  prefix=$(cd "$prefix" && pwd)
  say prefix "$prefix"
  for base in "$prefix" "${prefix%/envs/*}" "${bases[@]}"; do
    if [ -r "$base/etc/profile.d/conda.sh" ]; then
      say activate "$base/etc/profile.d/conda.sh"
      . "$base/etc/profile.d/conda.sh" && conda activate "$prefix"
      break
    fi
  done
  folders=("$prefix/bin")
elif [ -n "$path" ]; then
  path=$(expand "$path")
  [ -d "$path" ] || { say error "path $path"; exit 0; }
  path=$(cd "$path" && pwd)
  folders=("$path/bin" "$path")
else
  IFS=: read -r -a folders <<< "$first:$PATH"
  made=${XDG_DATA_HOME:-$HOME/.local/share}/aiida-pacemaker
  folders+=("$made/engine-tensorpot/bin" "$made/engine/bin")
fi

# The Python that a program begins with: `#!/x/python`, or, where that is too long, `'''exec' "/x/python" "$0" "$@"`.
python_of() {
  local line
  while IFS= read -r line; do
    case $line in
      '#!'*/env*) ;;
      '#!/'*python*) printf %s "${line#'#!'}" | tr -d '\r'; return ;;
      "'''exec' "*) line=${line#"'''exec' "}; line=${line%' "$0"'*}; line=${line#\"}; printf %s "${line%\"}"; return ;;
    esac
  done < <(head -n 2 "$1" 2> /dev/null)
}

# Ask the first Python that knows the engine, or, if there is none, all of them: what they say tells why.
ask() {
  local python answer line own=
  for python in "$1/python" "$1/python3" "$(python_of "$1/pacemaker")" "$(type -P python3)"; do
    [ -n "$python" ] && runs "$python" || continue
    # One that is found elsewhere speaks for programs that have none of their own.
    [ -z "$own" ] || [ "$python" != "$(type -P python3)" ] || continue
    own=$python
    say python "$python"
    answer=$("$python" -c "$question" 2>&1 < /dev/null)
    while IFS= read -r line; do say said "$line"; done <<< "$answer"
    case $answer in *'"engine": true'*) break ;; esac
  done
}

# Candidates are the folders that have a `pacemaker`; what else is missing is told from each.
count=0
for folder in "${folders[@]}"; do
  [ -n "$folder" ] && runs "$folder/pacemaker" || continue
  folder=$(cd "$folder" && pwd)
  say candidate "$folder"
  for program in $programs; do
    runs "$folder/$program" && say program "$folder/$program"
  done
  ask "$folder"
  count=$((count + 1))
  [ $count -lt 8 ] || break
done
# An environment that was named but has no engine is asked what it has in its place.
if [ $count = 0 ] && [ -n "$path$conda" ]; then
  for folder in "${folders[@]}"; do
    runs "$folder/python" && { say candidate "$folder"; ask "$folder"; }
  done
fi
say end "$count"
