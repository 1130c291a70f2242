# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# launch/setup --prefix: Debian packages without root. They are unpacked into a folder, links and texts that name /usr are
# turned to it, and its env.sh sets what the compiler, CMake, the loader and Open MPI look at. The C library and the
# compiler must be this machine's own: the linker would not find the one's files in another place.

not_unpacked='^(libc6|libc6-dev|libc-dev-bin|libc-bin|linux-libc-dev|libcrypt-dev|libcrypt1|binutils.*'
not_unpacked+='|libgcc-.*|libstdc\+\+.*|gcc|gcc-.*|g\+\+|g\+\+-.*|cpp|cpp-.*|perl|perl-.*|libperl.*'
not_unpacked+='|python3|python3-minimal|python3\.[0-9]+|python3\.[0-9]+-minimal|libpython3.*)='
readonly not_unpacked

# apt-get with lists and downloads of our own: those of the system are root's.
own_apt() {
  local apt="$prefix/.apt"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  apt-get -o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt/cache" -o Debug::NoLocking=1 "$@"
}

# NAME=VERSION of everything that installing the given packages would bring here, into the file PLAN.
plan_packages() {
  local plan=$1
  shift
  own_apt -s install --no-install-recommends "$@" >"$plan.all" || return
  sed -nE 's/^Inst ([^ ]+) (\[[^]]*\] )?\(([^ ]+) .*/\1=\3/p' "$plan.all" | { grep -vE "$not_unpacked" || true; } >"$plan"
}

download_into() {
  local folder=$1
  shift
  mkdir -p "$folder" && cd "$folder" && own_apt download "$@"
}

# A link may name a file of /usr by its whole path, or lead nowhere because that one's package is installed here already.
mend_links() {
  local link target place
  find "$prefix/usr" -type l | while IFS= read -r link; do
    target=$(readlink "$link")
    place="${link#"$prefix"}" && place="${place%/*}/$target"
    if [[ $target == /* && -e $prefix$target ]]; then
      ln -sfn "$prefix$target" "$link"
    elif [[ ! -e $link && $target != /* && -e $place ]]; then
      ln -sfn "$place" "$link"
    fi
  done
}

# What packages do when they are installed: names without ".openmpi", and the paths in texts.
mend_names_and_texts() {
  local file
  for file in "$prefix"/usr/bin/*.openmpi; do
    if [[ -e $file ]]; then ln -sfn "${file##*/}" "${file%.openmpi}"; fi
  done
  find "$prefix/usr" \( -name 'h5*cc' -o -name '*.pc' -o -name '*.cmake' \) -type f | while IFS= read -r file; do
    sed -i -E "s#(^|[^A-Za-z0-9_./-])/usr/(include|lib|bin|share)#\1$prefix/usr/\2#g
      s#^prefix=([\"']?)/usr\1\$#prefix=\1$prefix/usr\1#" "$file"
  done
}

# Folders with shared libraries; those that the links of their names are missing from get them, as at an installation.
library_folders() {
  local folder
  find "$prefix" -name 'lib*.so.*' -type f -printf '%h\n' | sort -u |
    while IFS= read -r folder; do
      PATH="$PATH:/sbin:/usr/sbin" ldconfig -n "$folder" 2>>"$log" || true
      printf '%s\n' "$folder"
    done
}

write_env() {
  local triplet folders
  folders=$(library_folders | paste -sd :)
  triplet=$(gcc -print-multiarch 2>/dev/null || dpkg-architecture -qDEB_HOST_MULTIARCH)
  cat >"$prefix/env.sh" <<END
# shellcheck shell=bash
# Made by launch/setup --prefix. The scripts in launch/ and slurm/ read it by themselves; for anything else: source this.
if [[ \${BRAID_PREFIX_IN_USE:-} != '$prefix' ]]; then
  BRAID_PREFIX_IN_USE='$prefix'
  usr='$prefix/usr' libraries='$prefix/usr/lib/$triplet'
  export BRAID_PREFIX_IN_USE PATH="\$usr/bin:\$PATH" CMAKE_PREFIX_PATH="\$usr\${CMAKE_PREFIX_PATH:+:\$CMAKE_PREFIX_PATH}"
  export LD_LIBRARY_PATH="$folders\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}"
  export LIBRARY_PATH="\$libraries\${LIBRARY_PATH:+:\$LIBRARY_PATH}"
  export CPLUS_INCLUDE_PATH="\$usr/include:\$usr/include/$triplet\${CPLUS_INCLUDE_PATH:+:\$CPLUS_INCLUDE_PATH}"
  export C_INCLUDE_PATH="\$usr/include:\$usr/include/$triplet\${C_INCLUDE_PATH:+:\$C_INCLUDE_PATH}"
  export PKG_CONFIG_PATH="\$libraries/pkgconfig:\$usr/share/pkgconfig\${PKG_CONFIG_PATH:+:\$PKG_CONFIG_PATH}"
  if [[ -x \$usr/bin/orted ]]; then export OPAL_PREFIX="\$usr" OPAL_SYSCONFDIR='$prefix/etc/openmpi'; fi
  if [[ -d \$libraries/pmix2 ]]; then
    export PMIX_LIBDIR="\$libraries/pmix2/lib" PMIX_PKGLIBDIR="\$libraries/pmix2/lib/pmix"
    export PMIX_DATADIR="\$libraries/pmix2/share" PMIX_PKGDATADIR="\$libraries/pmix2/share/pmix"
  fi
  if [[ -d \$usr/lib/git-core ]]; then export GIT_EXEC_PATH="\$usr/lib/git-core"; fi
  unset usr libraries
fi
END
}

# Unpacks what is missing of the given packages, with all they need; $prefix/packages lists what is there.
unpack_packages() {
  local found deb
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    fail 1 "--prefix unpacks Debian packages and needs apt-get and dpkg-deb; elsewhere load modules, see slurm/README.md"
  command -v g++ >/dev/null || fail 1 "--prefix needs a C++ compiler on this machine (g++ 12 or newer, or a module)"
  say "packages: unpacking $* and what they need into $prefix"
  logged "apt-get update" own_apt update
  logged "working out what the packages need" plan_packages "$prefix/.apt/plan" "$@"
  mapfile -t found <"$prefix/.apt/plan"
  if ((${#found[@]})); then
    (logged "apt-get download" download_into "$prefix/.apt/debs" "${found[@]}") || exit
  fi
  for deb in "$prefix"/.apt/debs/*.deb; do
    if [[ -e $deb ]]; then logged "dpkg-deb -x ${deb##*/}" dpkg-deb -x "$deb" "$prefix"; fi
  done
  mend_links
  mend_names_and_texts
  write_env
  rm -rf "$prefix/.apt"
  printf '%s\n' "$@" >>"$prefix/packages"
  say "packages: ${#found[@]} unpacked"
}
