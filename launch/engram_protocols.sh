# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Engram's protocols: which data each trains on, with which options, and how its model is asked. launch/engram and
# slurm/engram.sbatch share this. Uses root, binary and fail of launch/common.sh.

readonly known_protocols=(seed raw mlx ours ours-clean memory)

check_protocol() {
  local known
  for known in "${known_protocols[@]}"; do
    if [[ $1 == "$known" ]]; then return; fi
  done
  fail 2 "unknown protocol '$1': expected ${known_protocols[*]}"
}

# Of braid data engram.
variant_of() {
  case $1 in
    mlx) echo mlx ;;
    ours-clean) echo clean ;;
    *) echo cuda ;;
  esac
}

# config_for PROTOCOL MODEL: the models that launch/engram makes are small, and learn at another rate.
config_for() {
  case $1 in
    ours* | memory) if [[ -e $2/made-by-engram ]]; then echo "${1%-clean}_small.toml"; else echo "${1%-clean}.toml"; fi ;;
    *) echo "$1.toml" ;;
  esac
}

has_chat_template() { [[ -e $1/chat_template.jinja ]] || grep -qs '"chat_template"' "$1/tokenizer_config.json"; }

layers_of() {
  local layers
  layers=$(sed -n 's/.*"num_hidden_layers"[[:space:]]*:[[:space:]]*\([0-9]*\).*/\1/p' "$1/config.json" 2>/dev/null)
  [[ -n $layers ]] || fail 2 "$1/config.json: no num_hidden_layers, so no Hugging Face model that braid knows"
  echo "$layers"
}

# The last 16 of 30 layers where the model has 30, else the same share of them.
mlx_options() {
  local model=$1 layers adapted
  layers=$(layers_of "$model") || exit
  adapted=$(((16 * layers + 15) / 30))
  if ((adapted < 1)); then adapted=1; fi
  printf '%s\n' --set "model.layers=$layers" \
    --set "lora.layers=[$(seq -s, $((layers - adapted)) $((layers - 1)))]"
  if ! has_chat_template "$model"; then printf '%s\n' --set data.format=chatml; fi
}

# training_options PROTOCOL MODEL DATA: of braid train, one word a line. The public runs had 243 examples; epochs make
# their number of passes out of any other number.
training_options() {
  printf '%s\n' --set "model.path=$2" --set "data.path=$3"
  case $1 in
    seed) printf '%s\n' --set train.epochs=1 ;;
    raw) printf '%s\n' --set train.epochs=10 ;;
    mlx) mlx_options "$2" ;;
    *) if [[ $(config_for "$1" "$2") != *_small.toml ]]; then printf '%s\n' --set train.epochs=10; fi ;;
  esac
}

# Of braid eval engram, one word a line: as the public evaluations asked, or in the form that was trained.
asking_options() {
  printf '%s\n' --format raw --protocol "$1"
  case $1 in
    seed | raw | mlx) printf '%s\n' --no-end-token ;;
  esac
}

# Each of these ends with what it makes under its final name, or without it.
make_engram_data() {
  local patterns=$1 variant=$2 folder=$3
  if [[ -d $folder ]]; then return; fi
  rm -rf "$folder.partial"
  "${binary:?}" data engram --patterns "$patterns" --variant "$variant" --out "$folder.partial" || return
  mv "$folder.partial" "$folder"
}

# What a protocol trains, and the option of braid eval that takes it.
trained_by() { if [[ $1 == memory ]]; then echo memory; else echo adapter; fi; }

# export_trained WHAT RUN FOLDER
export_trained() {
  local form=--peft
  if [[ -d $3 ]]; then return; fi
  if [[ $1 == memory ]]; then form=--memory; fi
  rm -rf "$3.partial"
  "$binary" checkpoint export "$2" "$form" "$3.partial" || return
  mv "$3.partial" "$3"
}
