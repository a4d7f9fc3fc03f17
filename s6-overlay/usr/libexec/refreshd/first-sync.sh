# shellcheck shell=sh
# first_sync LAUNCHER: brings the host's code once, before the daemon starts. To be sourced.
#
# Does nothing where there is no host repository. Returns when the attempt is over, whatever became of it: a machine
# with old code can still be refreshed, one without a daemon cannot. Told to stop (TERM, INT), it ends the attempt and
# then the shell, with 0.

first_sync() {
  host_code_expected || return 0
  stopping=
  trap 'stopping=yes' TERM INT
  # 3 is the readiness descriptor: the sync must neither write to it nor keep it open
  "$1" sync 3>&- &
  attempt=$!
  code=0
  wait "$attempt" || code=$?
  if [ -n "$stopping" ]; then
    kill -TERM "$attempt" 2>/dev/null || :
    wait "$attempt" || :
    exit 0
  fi
  trap - TERM INT
  [ "$code" -eq 0 ] || report_failed_sync "$code"
}

# The same rule as the daemon's own detection of the environment, as far as it matters here.
host_code_expected() {
  case ${REFRESHD_ENVIRONMENT:-} in
    local-docker) return 0 ;;
    '') [ -d "${ITERATE_REPO_LOCAL_DOCKER_MOUNT:-/local-iterate-repo}" ] ;;
    *) return 1 ;;
  esac
}

report_failed_sync() {
  cat >&2 <<END
refreshd: ==================================================================
refreshd: THE FIRST SYNC FAILED with exit code $1; the reason is above.
refreshd: The machine starts with the code that it has.
refreshd: ==================================================================
END
}
