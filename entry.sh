#!/bin/sh
# The machine's entry point.
#
#   entry.sh              starts the machine: by s6-overlay's /init where there is one, else by s6-svscan
#   entry.sh PROGRAM...   runs the program instead (/init gets it as its command)
#
# On plain s6 it prepares the folders, brings the host's code once, lays the service definitions out as a scan
# directory and becomes s6-svscan, which ends the services and exits with 0 on TERM or INT.
#
# Environment: REFRESHD_RUN_DIR, REFRESHD_STATE_DIR, REFRESHD_LOG_DIR, and what the daemon reads. MACHINE_ROOT is put
# before every fixed path (/init, /etc/s6-overlay, /usr/libexec/refreshd, /opt/refreshd), for a machine that is not an
# image; it is empty in an image.
#
# MACHINE_DAEMON_USER, for a machine that is started as root: the user that the daemon runs as in place of the one who
# owns the checkout. Others then read neither its tokens nor its state, and it runs no daemon of the checkout, which they
# can change. The checkout is shared through its group.
# Exit code: 100 when the machine cannot start as it is configured.
set -eu
umask "${MACHINE_UMASK:-022}"

root=${MACHINE_ROOT:-}
definitions=$root/etc/s6-overlay/s6-rc.d
libexec=$root/usr/libexec/refreshd
run_dir=${REFRESHD_RUN_DIR:-/run/refreshd}
state_dir=${REFRESHD_STATE_DIR:-/var/lib/refreshd}
log_dir=${REFRESHD_LOG_DIR:-/var/log/refreshd}
scan=$run_dir/service

# How long a service may take to end, in milliseconds, where its definition does not say; see `stop` for the reason.
DEFAULT_TIMEOUT_KILL=7000

main() {
  if [ -x "$root/init" ]; then
    join_user_bundle
    exec "$root/init" "$@"
  fi
  [ $# -eq 0 ] || exec "$@"

  command -v s6-svscan >/dev/null || refuse 's6-svscan is not installed'
  [ -z "${MACHINE_DAEMON_USER:-}" ] || become_daemon_user "$MACHINE_DAEMON_USER"
  prepare_folder REFRESHD_RUN_DIR "$run_dir"
  prepare_folder REFRESHD_STATE_DIR "$state_dir"
  prepare_folder REFRESHD_LOG_DIR "$log_dir"
  # asking for a rescan is harmless, and only a supervisor that runs can be asked
  ! s6-svscanctl -a "$scan" 2>/dev/null || refuse "another machine runs in $run_dir; name another REFRESHD_RUN_DIR"
  # shellcheck source=/dev/null
  . "$libexec/first-sync.sh"
  first_sync "$libexec/launch"
  lay_out_services
  exec s6-svscan "$scan"
}

say() {
  echo "entry: $*" >&2
}

refuse() {
  say "cannot start the machine: $*"
  exit 100
}

become_daemon_user() { # USER
  [ "$(id -u)" -eq 0 ] || refuse "MACHINE_DAEMON_USER=$1 needs a machine that is started as root"
  id "$1" >/dev/null 2>&1 || refuse "there is no user $1 (MACHINE_DAEMON_USER)"
  unset MACHINE_DAEMON_USER
  for folder in "$run_dir" "$state_dir" "$log_dir"; do
    mkdir -p "$folder"
    chown -R "$1:" "$folder"
  done
  chmod 755 "$run_dir"
  chmod 700 "$state_dir" "$log_dir"
  export HOME="$state_dir" MACHINE_DAEMON=image MACHINE_UMASK=002
  share_checkout "$1"
  exec s6-setuidgid "$1" "$0"
}

# Files that either side makes belong to the checkout's group; a folder with the setgid bit was shared before.
share_checkout() { # USER
  repo=${ITERATE_REPO:-}
  [ -d "$repo" ] || refuse "ITERATE_REPO must be a folder that exists, for its group to be shared with $1"
  if [ ! -g "$repo" ]; then
    chmod -R g+rwX "$repo"
    find "$repo" -type d -exec chmod g+s {} +
  fi
  # homes are closed to everybody else; the group may pass, and list nothing
  parent=${repo%/*}
  while [ -n "$parent" ]; do
    [ "$(stat -c %g "$parent")" != "$(stat -c %g "$repo")" ] || chmod g+x "$parent"
    parent=${parent%/*}
  done
  owner=$(stat -c %U "$repo")
  trust_checkout "$1" "$HOME"
  trust_checkout "$owner" "$(getent passwd "$owner" | cut -d: -f6)"
}

# Git works in a folder with another user's files only for those who told it to.
trust_checkout() { # USER HOME
  s6-setuidgid "$1" env HOME="$2" git config --global --fixed-value --replace-all safe.directory "$repo" "$repo" ||
    say "git does not work for $1 in $repo"
}

prepare_folder() { # NAME FOLDER
  if mkdir -p "$2" && probe=$(mktemp "$2/.probe.XXXXXX" 2>/dev/null); then
    rm -f "$probe"
  else
    refuse "$2 ($1) is not writable for user $(id -u); change its owner or name another folder"
  fi
}

# s6-overlay takes its user bundle from user-bundles.d, where ours is registered. Releases that do not know that place,
# and newer ones as long as the old place exists, look at the old one only.
join_user_bundle() {
  [ -d "$definitions/user" ] || return 0
  member=$definitions/user/contents.d/refreshd-pipeline
  [ -e "$member" ] || { mkdir -p "${member%/*}" && : >"$member"; } || say "cannot register refreshd in ${member%/*}"
}

lay_out_services() {
  rm -rf "$scan"
  mkdir -p "$scan/.s6-svscan"
  ln -s "$libexec/stop" "$scan/.s6-svscan/SIGTERM"
  ln -s "$libexec/stop" "$scan/.s6-svscan/SIGINT"
  for definition in "$definitions"/*/; do
    definition=${definition%/}
    name=${definition##*/}
    case $(first_line "$definition/type") in
      longrun) lay_out_longrun "$name" ;;
      oneshot) say "$name is a oneshot, which plain s6 does not run" ;;
    esac
  done
  # the mark that keeps the trampoline from a second first sync
  [ ! -d "$scan/refreshd" ] || : >"$scan/refreshd/synced"
}

lay_out_longrun() { # NAME
  producer=$(first_line "$definitions/$1/consumer-for")
  if [ -n "$producer" ]; then
    # comes with its producer
    [ -d "$definitions/$producer" ] || say "$1 is not started: it logs for $producer, which does not exist"
    return 0
  fi
  name_ignored_order "$1"
  copy_service "$definitions/$1" "$scan/$1"
  logger=$(first_line "$definitions/$1/producer-for")
  [ -z "$logger" ] || lay_out_logger "$1" "$logger"
}

# s6-svscan knows one logger for one service, and no longer pipelines than that.
lay_out_logger() { # NAME LOGGER
  if [ ! -f "$definitions/$2/run" ] || [ "$(first_line "$definitions/$2/consumer-for")" != "$1" ]; then
    say "$1 logs to the container's log: $2 is not a logger for it alone"
    return 0
  fi
  copy_service "$definitions/$2" "$scan/$1/log"
  [ ! -e "$definitions/$2/producer-for" ] || say "$2 logs to the container's log: plain s6 has no longer pipelines"
}

name_ignored_order() { # NAME
  for dependency in "$definitions/$1/dependencies.d"/*; do
    dependency=${dependency##*/}
    case $dependency in
      # the daemon finds the holder whenever it comes
      '*' | base | refreshd-holder) ;;
      *) say "$1 does not wait for $dependency: plain s6 starts all services at once" ;;
    esac
  done
}

copy_service() { # FROM TO
  mkdir -p "$2"
  for file in run finish notification-fd lock-fd timeout-kill timeout-finish max-death-tally down-signal data env; do
    [ ! -e "$1/$file" ] || cp -R "$1/$file" "$2/$file"
  done
  # a host or a copy may have lost it
  chmod +x "$2/run"
  [ ! -e "$2/finish" ] || chmod +x "$2/finish"
  [ -e "$2/timeout-kill" ] || echo "$DEFAULT_TIMEOUT_KILL" >"$2/timeout-kill"
}

first_line() { # FILE
  line=
  [ ! -f "$1" ] || read -r line <"$1" || :
  printf '%s' "$line"
}

main "$@"
