# shellcheck shell=sh
# exec_with_sockets PROGRAM...: execs the program with the listening sockets that the holder keeps, in the descriptors
# that S6_FD_n (number) and S6_FDID_n (what it is) name; without a holder, with none. To be sourced by what runs in the
# service directory.

exec_with_sockets() {
  if [ -d ../refreshd-holder ]; then
    export REFRESHD_HOLDER="${REFRESHD_RUN_DIR:-/run/refreshd}/holder/socket"
    # asked first: who execs through the dump and gets none does not come back
    if s6-fdholder-list -t 5000 "$REFRESHD_HOLDER" >/dev/null 2>&1; then
      exec s6-fdholder-getdump -t 5000 "$REFRESHD_HOLDER" "$@"
    fi
  fi
  exec "$@"
}
