#!/usr/bin/env bash
# Measures llama.cpp or ik_llama.cpp in PolyLM's shapes, and polynode with the same clients. README.md says how.
#
#   run.sh ENGINE PART MODEL [THREADS [VALUES]]    ENGINE is llama or ik
#     prefill   prompts of VALUES tokens (32,128,512)
#     decode    64 tokens after VALUES others (0,1024,1900)
#     batch     VALUES sequences together (1,2,4,8,16), prompts of 32, 64 new tokens
#     server    VALUES clients (16) of a server with 16 slots, prompts of 64, 128 new tokens
#     memory    the most resident memory of a short run
#   run.sh clients URL [OPTIONS]                   the clients alone, for polynode: see clients.py
#
# LLAMA_BIN and IK_BIN are the folders with llama-bench, llama-batched-bench and llama-server. FLASH=0 switches flash
# attention off, ROUNDS is the number of repetitions (2).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
flash=${FLASH:-1}
rounds=${ROUNDS:-2}

usage() {
  sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
  exit 2
}

# engine_flags sets the folder and the flags of an engine: llama.cpp repacks by itself, ik_llama.cpp when told.
engine_flags() {
  case $1 in
    llama)
      bin=${LLAMA_BIN:?is not set: the folder with llama-bench}
      bench=(-fa "$flash") tool=(-fa "$([ "$flash" = 1 ] && echo on || echo off)") depth=(-p 0 -n 64 -d) ;;
    ik)
      bin=${IK_BIN:?is not set: the folder with llama-bench}
      bench=(-fa "$flash" -rtr 1) tool=(-rtr) depth=(-p 0 -n 0 -gp)
      [ "$flash" = 1 ] || tool+=(-no-fa) ;;
    *) usage ;;
  esac
}

# rows keeps the name and the tokens/s of llama-bench's table.
rows() { awk -F'|' 'NF > 3 && $(NF-2) ~ /(pp|tg)[0-9]/ { print "  " $(NF-2) $(NF-1) }'; }

bench() { "$bin/llama-bench" -m "$model" -t "$threads" "${bench[@]}" "$@" 2>/dev/null | rows; }

decode() {
  for d in ${1//,/ }; do
    case $d,$engine in
      0,*) bench -r "$rounds" -p 0 -n 64 ;;
      *,ik) bench -r 1 "${depth[@]}" "$d,64" ;;
      *) bench -r 1 "${depth[@]}" "$d" ;;
    esac
  done
}

batch() {
  "$bin/llama-batched-bench" -m "$model" -t "$threads" "${tool[@]}" -c 2048 -npp 32 -ntg 64 -npl "$1" 2>&1 |
    awk -F'|' '/^\|/ && $2 ~ /PP|[0-9]/ { print " " $4 $7 $9 }'
}

server() {
  local url=http://127.0.0.1:${PORT:-8099}
  "$bin/llama-server" -m "$model" -t "$threads" "${tool[@]}" -c 4096 -np 16 --host 127.0.0.1 --port "${url##*:}" >/dev/null 2>&1 &
  pid=$!
  trap 'kill "$pid" 2>/dev/null' EXIT # the server's, whatever happens
  until curl -sf "$url/health" >/dev/null; do
    kill -0 "$pid"
    sleep 0.2
  done
  python3 "$here/clients.py" "$url" --clients 1 --new 2 >/dev/null
  echo "  $(python3 "$here/clients.py" "$url" --clients "$1")"
}

# memory polls the process, because the peak is gone with it.
memory() {
  local pid now peak=0
  "$bin/llama-bench" -m "$model" -t "$threads" "${bench[@]}" -r 1 -p 32 -n 8 >/dev/null 2>&1 &
  pid=$!
  while now=$(awk '/VmHWM/ { print $2 }' "/proc/$pid/status" 2>/dev/null) && [ -n "$now" ]; do
    peak=$now
    sleep 0.1
  done
  wait "$pid"
  awk -v k="$peak" 'BEGIN { printf "  %.2f GB resident at most\n", k * 1024 / 1e9 }'
}

[ $# -ge 2 ] || usage
if [ "$1" = clients ]; then
  shift
  python3 "$here/readloop.py"
  echo "  $(python3 "$here/clients.py" "$@")"
  python3 "$here/readloop.py"
  exit
fi
[ $# -ge 3 ] || usage
engine=$1 part=$2 model=$(realpath "$3") threads=${4:-$(nproc)}
engine_flags "$engine"
bin=$(realpath "$bin")
cd "$(mktemp -d)" # ik_llama.cpp leaves a log where it runs
echo "$engine $part, $(basename "$model"), $threads threads, flash attention $flash"
python3 "$here/readloop.py"
case $part in
  prefill) bench -r "$rounds" -n 0 -p "${5:-32,128,512}" ;;
  decode) decode "${5:-0,1024,1900}" ;;
  batch) batch "${5:-1,2,4,8,16}" ;;
  server) server "${5:-16}" ;;
  memory) memory ;;
  *) usage ;;
esac
python3 "$here/readloop.py"
