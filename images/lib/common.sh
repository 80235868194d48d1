# shellcheck shell=bash disable=SC2154
# Messages, packages and the manifest: what every recipe needs. Sourced by build-image, whose variables it uses.

die() {
  echo "build-image: $*" >&2
  exit 1
}

# clear_up: when a build ends in any way, what it has started and made goes. Its caller gives it a session of its own; as an
# ordinary user a part of the work belongs to subordinate ids.
clear_up() {
  trap '' TERM INT
  kill -TERM -- -$$ 2> /dev/null || true
  rm -rf "$work" 2> /dev/null || mmdebstrap --unshare-helper rm -rf "$work"
}

# require_space FOLDER MIB: ends the build before its first step when the file system has less.
require_space() {
  local free_mib mount
  free_mib=$(($(df -Pk "$1" | awk 'NR == 2 {print $4}') / 1024))
  mount=$(df -Pk "$1" | awk 'NR == 2 {print $6}')
  [ "$free_mib" -lt "$2" ] || return 0
  echo "build-image: $name needs about $2 MiB in $(dirname "$1"), and its file system ($mount) has $free_mib MiB free;" \
    "free space there, or let TMPDIR (the work) or BOOTSEAL_HOME (the result) name a folder elsewhere" >&2
  exit 11
}

recipe_names() {
  local file names=()
  for file in "$images_dir"/recipes/*.sh; do names+=("$(basename "$file" .sh)"); done
  echo "${names[*]}"
}

progress_step=0
progress_total=0
# The next step of the build, as one line on standard error.
progress() {
  progress_step=$((progress_step + 1))
  echo "[$progress_step/$progress_total] $*" >&2
}

note() { echo "$*" >&2; }

require_programs() {
  local program missing=()
  for program in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" > /dev/null || missing+=("$program")
  done
  [ ${#missing[@]} -eq 0 ] || die "these programs are missing: ${missing[*]}; install them (scripts/install-deps)"
}
PATH=$PATH:/usr/sbin:/sbin

check_inputs() {
  local addition
  if [ -n "$agent" ]; then
    [ -f "$agent" ] || die "the agent '$agent' does not exist"
    agent=$(readlink -f "$agent")
  fi
  for addition in "${additions[@]}"; do
    [[ $addition == *=/* ]] || die "--add wants FILE=/PATH/IN/THE/GUEST, there is '$addition'"
    [[ $addition != *..* ]] || die "--add takes no '..' in '$addition'"
    [ -f "${addition%%=*}" ] || die "the file '${addition%%=*}' of --add does not exist"
  done
}

find_inspect() {
  local candidate
  for candidate in "$1" "${BOOTSEAL_BIN:+$BOOTSEAL_BIN/bootseal-image-inspect}" "$images_dir/../../../bin/bootseal-image-inspect" \
    "$(command -v bootseal-image-inspect || true)"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then
      readlink -f "$candidate"
      return
    fi
    [ -z "$1" ] || die "the program '$1' of --inspect cannot be run"
  done
  die "bootseal-image-inspect was not found; say where it is with --inspect"
}

# fetch_package NAME: unpacks the newest version of a Debian package under $work/packages and records its version in
# package_version[NAME]. Packages come through apt as it is configured here (signatures are apt's business) and stay in the cache.
declare -A package_version=()
fetch_package() {
  local package=$1 file
  if [ "$offline" = no ]; then
    (cd "$cache" && apt-get -q -q -o APT::Sandbox::User=root download "$package") ||
      die "apt-get could not download $package; check the package sources, or use --offline with a filled cache"
    file=$(newest_in_cache "$package" "$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p' | head -1)")
  else
    file=$(newest_in_cache "$package" '')
  fi
  [ -n "$file" ] || die "the package $package is not in the cache $cache"
  dpkg-deb -x "$file" "$work/packages"
  package_version[$package]=$(dpkg-deb -f "$file" Version)
}

# newest_in_cache PACKAGE [VERSION]: the file of that version, or of the newest one.
newest_in_cache() {
  local file version best='' best_version=''
  for file in "$cache/$1"_*.deb; do
    [ -f "$file" ] || continue
    version=$(dpkg-deb -f "$file" Version)
    if [ -n "$2" ]; then
      [ "$version" = "$2" ] && best=$file
    elif [ -z "$best" ] || dpkg --compare-versions "$version" gt "$best_version"; then
      best=$file best_version=$version
    fi
  done
  echo "$best"
}

# The package that holds the newest signed cloud kernel (what linux-image-cloud-amd64 depends on).
kernel_package_name() {
  local name
  if [ "$offline" = yes ]; then
    name=$(find "$cache" -name 'linux-image-*-cloud-amd64_*.deb' -printf '%f\n' | sort -V | tail -1)
    name=${name%%_*}
  else
    name=$(apt-cache depends --no-recommends --no-suggests linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-.*\)/\1/p' | head -1)
  fi
  [ -n "$name" ] || die "no package with a signed cloud kernel was found; check the package sources"
  echo "$name"
}

# Every file under a folder gets the fixed time, so that archives and file systems come out the same.
fix_times() { find "$1" -exec touch -h -d "@$source_date" {} +; }

# install_agent TARGET: the agent, without debug information. It must be static, for the guest has other libraries.
install_agent() {
  mkdir -p "$(dirname "$1")"
  if head -c 4 "$agent" | grep -q ELF; then
    if LC_ALL=C readelf -l "$agent" | grep -q INTERP; then
      die "the agent '$agent' is linked dynamically; build it with -static"
    fi
    strip -o "$1" "$agent"
  else
    cp "$agent" "$1"
  fi
  chmod 755 "$1"
}

# install_additions ROOT
install_additions() {
  local addition
  for addition in "${additions[@]}"; do
    install -D -m "$([ -x "${addition%%=*}" ] && echo 755 || echo 644)" "${addition%%=*}" "$1${addition#*=}"
  done
}

# write_manifest DISK_DESCRIPTION OS_NAME MINIMUM_MEMORY_MIB CLOUD_INIT(yes|no) KERNEL_PACKAGE COMPONENT...
# COMPONENT is ROLE:PATH_IN_IMAGE=FILE_HERE, grubConfig:PATH_IN_IMAGE=FILE_HERE or initrd:PATH_IN_IMAGE=FILE_HERE. With `immutable=yes` a
# VM whose grub.cfg, initrd or command line is another one is not healthy.
write_manifest() {
  local description=$1 os_name=$2 memory=$3 cloud_init=$4 kernel_package=$5 arguments=() component
  shift 5
  for component in "$@"; do
    case $component in
      grubConfig:*) arguments+=(--grub-config "${component#*:}") ;;
      initrd:*) arguments+=(--initrd "${component#*:}") ;;
      *) arguments+=(--component "$component") ;;
    esac
  done
  [ "${immutable:-no}" = no ] || arguments+=(--immutable)
  [ -z "$agent" ] || arguments+=(--agent)
  [ "$cloud_init" = no ] || arguments+=(--cloud-init)
  [ -z "$created" ] || arguments+=(--created "$created")
  "$inspect" --disk "$out_dir/disk.qcow2" --name "$name" --image-version "$image_version" --description "$description" \
    --os-name "$os_name" --minimum-memory-mib "$memory" \
    --package "shim=${package_version[shim-signed]}" --package "grub=${package_version[grub-efi-amd64-signed]}" \
    --package "kernel=${package_version[$kernel_package]}" "${arguments[@]}" --output "$out_dir/manifest.json" ||
    die "the image could not be inspected"
}
