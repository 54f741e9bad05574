#!/usr/bin/env bash
# Serves a model from several nodes on this machine, none of which may use enough memory to hold it alone, and measures them:
#
#   bash test/limits/run.sh DATA MODEL NODES LIMIT
#   bash test/limits/run.sh ~/.local/share/polynode synthetic-polylm-13b-q4 2 6G
#
# DATA is a data folder whose store has MODEL. LIMIT is what the control group of each node allows it, pages of files included. The first
# node has the whole model on its disk and the others nothing, so they fetch their slices. Printed are the time from the first join to the
# first token, tokens a second, the plan with its network traffic, and the most memory that each node used.
#
# Needs Linux, root, curl and python3. Removes what it made.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
data=$1 model=$2 nodes=$3 limit=$4
threads=${THREADS:-1} # of each node

scratch=$(mktemp -d "$data/limits.XXXXXX") # on the disk of the store, so that the model is linked and not copied
groups=/sys/fs/cgroup/memory limit_file=memory.limit_in_bytes peak_file=memory.max_usage_in_bytes
if [[ ! -d $groups ]]; then
  groups=/sys/fs/cgroup limit_file=memory.max peak_file=memory.peak
fi
group() { echo "$groups/polynode-limits-$1"; }

cleanup() {
  trap - EXIT
  kill $(jobs -p) 2>/dev/null || true
  wait || true
  for ((i = 1; i <= nodes; i++)); do rmdir "$(group "$i")" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap cleanup EXIT

# limited NODE COMMAND…: runs a command within a control group of its own.
limited() {
  local at
  at=$(group "$1")
  mkdir -p "$at"
  echo "$limit" >"$at/$limit_file"
  shift
  exec bash -c 'echo $$ >"$0"; exec "$@"' "$at/cgroup.procs" "$@"
}

# settings NODE: what all nodes are started with.
settings() {
  echo --data "$scratch/$1" --name "node-$1" --listen "127.0.0.1:$((7950 + $1))" --http "127.0.0.1:$((8050 + $1))" --threads "$threads" --sequences 1
}

url=http://127.0.0.1:8051
CGO_ENABLED=0 go build -o "$scratch/polynode" ./cmd/polynode
mkdir -p "$scratch/1/models"
cp -rl "$data"/models/{blobs,names} "$scratch/1/models/"
# Pages that are in memory already would not count for the nodes that use them.
for blob in "$data"/models/blobs/*; do dd if="$blob" iflag=nocache count=0 status=none; done

(limited 1 "$scratch/polynode" up $(settings 1) --model "$model" >"$scratch/1.log" 2>&1) &
until curl --silent --max-time 5 --output /dev/null "$url/livez"; do sleep 0.2; done
joined=$(date +%s.%N)
for ((i = 2; i <= nodes; i++)); do
  token=$("$scratch/polynode" token create --url "$url" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["token"])')
  (limited "$i" "$scratch/polynode" join 127.0.0.1:7951 --token "$token" $(settings "$i") >"$scratch/$i.log" 2>&1) &
done

python3 - "$url" "$joined" <<'PYTHON' || { tail -n 3 "$scratch"/*.log; exit 1; }
import json, sys, time, urllib.request
url, joined = sys.argv[1], float(sys.argv[2])

def answer(tokens):
    body = {"prompt": "Alle Menschen sind frei und", "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True}
    request = urllib.request.Request(url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return [time.time() for line in urllib.request.urlopen(request, timeout=300) if line.startswith(b"data: {")]

told = None
while True:
    try:
        first = answer(1)[0]
        break
    except urllib.error.URLError as error:
        why = json.load(error)["error"]["message"] if isinstance(error, urllib.error.HTTPError) else str(error)
        if why != told:
            print("waiting:", why, flush=True)
        told = why
        if time.time() > joined + 600:
            sys.exit(f"no answer within ten minutes: {error}")
        time.sleep(0.2)
print(f"from join to the first token: {first - joined:.1f} s")
for _ in range(3):
    times = answer(33)
    print(f"tokens/s: {(len(times) - 1) / (times[-1] - times[0]):.2f}")
PYTHON
"$scratch/polynode" plan --explain --url "$url"
"$scratch/polynode" status --url "$url"
for ((i = 1; i <= nodes; i++)); do
  echo "node-$i used at most $(($(cat "$(group "$i")/$peak_file") >> 20)) MiB of memory and $(du -sm "$scratch/$i" | cut -f1) MiB of disk"
done
