#!/usr/bin/env bash
# restore-by-hand.sh [-i IDENTITY] REPOSITORY COMMAND…   reads a dbhaul repository without dbhaul
#
#   snapshots                          lists the snapshots
#   parts SNAPSHOT                     lists the parts of a snapshot: source, kind, bytes, name
#   check SNAPSHOT [SOURCE]            reads every part, and compares its hash with that in the manifest
#   part SNAPSHOT NAME                 writes a part to standard output
#   postgres SNAPSHOT SOURCE DATABASE  restores into an empty database; DATABASE is a name or a postgres:// URL, as for psql
#   redis SNAPSHOT SOURCE FILE         writes an RDB file for a new redis-server
#
#   -i IDENTITY   the age identity file of an encrypted repository
#   -t            trust the repository: run `postgres` even with a psql that is too old for \restrict (see security.md)
#
# REPOSITORY is a folder: copy one from object storage to a folder first, with any tool. Requires bash,
# coreutils, jq and zstd; age if the repository is encrypted; psql for `postgres`. The repository's format is described in
# repository-format.md, this script step by step in restore-by-hand.md.
set -euo pipefail

fail() { echo "error: $*" >&2; exit 1; }
usage() { sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; }

identity= trusted=
while getopts i:th option; do
  case "$option" in
    i) identity="$(realpath -- "$OPTARG")" ;;
    t) trusted=1 ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { usage >&2; exit 2; }
repository="$1" command="$2"
shift 2
[ -f "$repository/dbhaul.json" ] || fail "$repository is no repository: it has no dbhaul.json"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
[ "$command" != redis ] || [ $# -lt 3 ] || set -- "$1" "$2" "$(realpath -- "$3")"
cd -- "$repository"

# A document is JSON, a newline, and a line with the hash of everything before it.
document() { # document FILE: its JSON
  local said got
  [ -f "$1" ] || fail "there is no $1"
  said="$(tail -n 1 -- "$1" | jq -r .sha256)"
  got="$(head -n -1 -- "$1" | sha256sum | cut -d ' ' -f 1)"
  [ "$said" = "$got" ] || fail "$1 is damaged: its bytes have the hash $got, and its last line says $said"
  head -n -1 -- "$1"
}

[ "$(document dbhaul.json | jq -r .format)" = 1 ] || fail "dbhaul.json is of another format than this script knows (1)"
encrypted="$(document dbhaul.json | jq -r '.encryption != null')"
[ "$encrypted" = false ] || [ -n "$identity" ] || [ "$command" = snapshots ] ||
  fail "this repository is encrypted: give an identity file (-i)"

# The plain data of chunk objects, whose names are read one per line. Concatenated zstd frames are valid zstd data.
chunks() {
  if [ "$encrypted" = true ]; then
    while read -r chunk; do age --decrypt -i "$identity" "$chunk"; done | zstd -dcq
  else
    while read -r chunk; do cat "$chunk"; done | zstd -dcq
  fi
}

sources() { # sources SNAPSHOT: the list of sources as JSON, into $scratch/sources
  document "snapshots/$1.json" > "$scratch/manifest"
  if [ "$encrypted" = true ]; then
    jq -r .sealed.body "$scratch/manifest" | base64 -d | age --decrypt -i "$identity" | zstd -dcq | jq -c .sources
  else
    jq -c .sources "$scratch/manifest"
  fi > "$scratch/sources"
}

part() { # part NAME: its plain bytes; fails at the end if they are not those that were backed up
  local said bytes got
  jq -e --arg name "$1" '.[].parts[] | select(.name == $name)' "$scratch/sources" > "$scratch/part" ||
    fail "the snapshot has no part $1"
  jq -r '.chunks[] | "chunks/\(.id[0:2])/\(.id)\(if .copy then "-" + .copy else "" end)"' "$scratch/part" \
    > "$scratch/names"
  said="$(jq -r .sha256 "$scratch/part")"
  bytes="$(jq -r .bytes "$scratch/part")"
  rm -f "$scratch/pipe"
  mkfifo "$scratch/pipe"
  sha256sum < "$scratch/pipe" > "$scratch/hash" &
  # Without chunks there are no bytes, but zstd would require a frame.
  if [ -s "$scratch/names" ]; then chunks < "$scratch/names"; fi | tee "$scratch/pipe"
  wait $!
  got="$(cut -d ' ' -f 1 "$scratch/hash")"
  [ "$said" = "$got" ] || fail "part $1 ($bytes bytes) is damaged: its hash is $got, and the manifest says $said"
}

names() { # names SOURCE [KIND]: parts of a source
  jq -r --arg source "$1" --arg kind "${2:-}" \
    '.[] | select(.name == $source) | .parts[] | select($kind == "" or .kind == $kind) | .name' "$scratch/sources"
}

check() { # check SOURCE: every part of it
  local name count=0
  names "$1" > "$scratch/check"
  [ -s "$scratch/check" ] || fail "the snapshot has no source $1"
  names "$1" postgres/copy > "$scratch/rows"
  while read -r name; do
    if grep -qxF -- "$name" "$scratch/rows"; then rows "$name"; else part "$name" > /dev/null; fi
    count=$((count + 1))
  done < "$scratch/check"
  echo "$1: $count parts are as they were backed up" >&2
}

rows() { # rows NAME: a part with rows, none of which is the line that ends rows in a script; no server writes that one
  local last
  : > "$scratch/ends"
  last="$(part "$1" | LC_ALL=C sed -n -e "/^\\\\\\.\r\{0,1\}\$/w $scratch/ends" -e '$p' | tail -c 1 | od -An -tx1)"
  [ ! -s "$scratch/ends" ] || fail "part $1 has a row \`\\.\`, which no server writes: the repository was forged, nothing was restored"
  [ -z "$last" ] || [ "$last" = " 0a" ] || fail "the last row of part $1 does not end: nothing was restored"
}

# psql runs backslash commands in a script, including programs, unless they are disabled. Since August 2025 that is possible.
knows_restrict() {
  local major minor
  read -r major minor < <(psql --version | sed -E 's/^[^0-9]*([0-9]+)\.?([0-9]*).*/\1 \2/')
  minor="${minor:-0}"
  case "$major" in
    13) [ "$minor" -ge 22 ] ;;
    14) [ "$minor" -ge 19 ] ;;
    15) [ "$minor" -ge 14 ] ;;
    16) [ "$minor" -ge 10 ] ;;
    17) [ "$minor" -ge 6 ] ;;
    *) [ "$major" -ge 18 ] ;;
  esac
}

# One session of psql: settings and tables, then the rows of each table in COPY blocks, then indexes and the like.
script() { # script SOURCE
  local name key
  # A key that cannot occur in the repository.
  key="$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')"
  if knows_restrict; then echo "\\restrict $key"; fi
  part "$1/before-rows.sql"
  names "$1" postgres/copy > "$scratch/tables"
  # A script cannot load rows of TimescaleDB's continuous aggregates: their tables have generated names.
  part "$1/catalog.json" | jq -c '.timescale.aggregates[]? | [.schema, .name]' > "$scratch/aggregates"
  while read -r name; do
    jq --arg name "$name" '.[].parts[] | select(.name == $name) | .attributes' "$scratch/sources" > "$scratch/about"
    if grep -qxF "$(jq -c '[.table.schema, .table.name]' "$scratch/about")" "$scratch/aggregates"; then
      echo "left out: $name" >&2
      continue
    fi
    if [ "$(jq -r '.table.schema + "." + .table.name' "$scratch/about")" = pg_catalog.pg_largeobject ]; then
      # Bytes of large objects: number, offset, \\x and digits. They are written by a function, not into a table.
      part "$name" |
        sed -E -e "s/^([0-9]+)\t([0-9]+)\t\\\\\\\\x([0-9a-f]*)\$/SELECT FROM (SELECT pg_catalog.lo_put(\1, \2, '\\\\x\3')) AS put;/" -e t -e Q3
      continue
    fi
    jq -r 'def quoted: if any(explode[]; . == 0) then error("a zero byte in a name") else . end | "\"" + gsub("\""; "\"\"") + "\"";
      "COPY \(.table.schema | quoted).\(.table.name | quoted)"
      + (if .columns == [] then "" else " (" + (.columns | map(quoted) | join(", ")) + ")" end) + " FROM stdin;"' \
      "$scratch/about"
    part "$name"
    echo '\.'
  done < "$scratch/tables"
  part "$1/after-rows.sql"
  if knows_restrict; then echo "\\unrestrict $key"; fi
}

case "$command" in
  snapshots)
    for file in snapshots/*.json; do
      document "$file" | jq -r '[.id, .job, (if .complete then "complete" else "INCOMPLETE" end)] | @tsv'
    done
    ;;
  parts)
    sources "${1:?a snapshot}"
    jq -r '.[] | .name as $source | .parts[] | [$source, .kind, .bytes, .name] | @tsv' "$scratch/sources"
    ;;
  check)
    sources "${1:?a snapshot}"
    jq -r --arg only "${2:-}" '.[].name | select($only == "" or . == $only)' "$scratch/sources" > "$scratch/checked"
    [ -s "$scratch/checked" ] || fail "the snapshot has no source ${2:-}"
    while read -r source; do check "$source"; done < "$scratch/checked"
    ;;
  part)
    sources "${1:?a snapshot}"
    part "${2:?the name of a part}"
    ;;
  postgres)
    sources "${1:?a snapshot}"
    [ -n "$trusted" ] || knows_restrict ||
      fail "$(psql --version) cannot be told to run no commands out of a script (\\restrict): use a newer psql, or -t if only you can write to the repository"
    # Before anything is written.
    check "${2:?the name of a source}"
    script "$2" | psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --output /dev/null --dbname "${3:?a database}"
    echo "$2 was restored" >&2
    ;;
  redis)
    sources "${1:?a snapshot}"
    [ ! -e "${3:?a file}" ] || fail "$3 is there already, and is not overwritten"
    part "$(names "${2:?the name of a source}" redis/rdb)" > "$3"
    echo "$3 was written: redis-server --dir $(dirname "$3") --dbfilename $(basename "$3") begins with it" >&2
    ;;
  *) usage >&2; exit 2 ;;
esac
