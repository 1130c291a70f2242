# SPDX-License-Identifier: Apache-2.0
"""launch/setup with pretended apt-get, python, pip, nvcc and cmake: what it does, skips and refuses."""

import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, only_line

PYTHON = r"""
case "$*" in
  "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip "*)
    echo "pip TMPDIR=$TMPDIR $*" >>"$CALLS"
    [[ ! -e $(dirname "$CALLS")/offline ]] || { echo "Temporary failure in name resolution" >&2; exit 1; }
    cuda=$(dirname "$0")/../lib/python3.11/site-packages/nvidia
    mkdir -p $cuda/cu13/{bin,lib} $cuda/nccl/lib
    touch $cuda/cu13/lib/lib{cudart.so.13,nvrtc.alt.so.13.0,plain.so} $cuda/nccl/lib/libnccl.so.2
    cp "$(dirname "$CALLS")/bin/fake-nvcc" $cuda/cu13/bin/nvcc ;;
esac
"""
NVCC = r"""
if [[ $1 == --version ]]; then echo "Cuda compilation tools, release 13.0, V13.0.88"; else echo "nvcc $*" >>"$CALLS"; fi
"""
CMAKE = r"""
echo "cmake $*" >>"$CALLS"
if [[ $1 == --build ]]; then
  [[ ! -e $(dirname "$CALLS")/broken ]] || {
    printf '[1/9] x.o\nx.cpp:3:1: error: no such thing\nninja: stopped\n'; exit 1
  }
  echo "[1/2] a.o"; exit 0
fi
build=$4; mkdir -p "$build"; touch "$build/build.ninja"
for word in "$@"; do
  case $word in -D*)
    name=${word#-D}; name=${name%%=*}
    sed -i "/^$name:/d" "$build/CMakeCache.txt" 2>/dev/null
    echo "$name:STRING=${word#*=}" >>"$build/CMakeCache.txt" ;;
  esac
done
"""


@pytest.fixture
def setup(machine):
    machine.program("dpkg-query", r'for p in "$@"; do [[ $p == -* ]] || echo "installed $p"; done')
    machine.program("g++", "echo 12.2.0")
    machine.program("fake-nvcc", NVCC)
    machine.program("cmake", CMAKE)
    machine.recorder("apt-get")
    machine.program("sudo", "exit 1")
    machine.program("df", "printf 'Filesystem 1024-blocks Used Available\\n/dev/x 0 0 90000000 1%% /\\n'")
    python = machine.program("python-of-debian", PYTHON)
    machine.environment["BRAID_PYTHON"] = str(python)
    machine.setup = lambda *arguments, **environment: machine.run("setup", *arguments, **environment)
    return machine


def done(result):
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def calls_of(machine, name):
    return [call for call in machine.calls() if re.search(rf"(^|\| ){name} ", call)]


def test_a_first_run_makes_environment_links_and_build(setup):
    result = done(setup.setup())
    assert result.stdout.splitlines()[-1].startswith("launch/setup: ready after ")
    wheels = setup.checkout / ".deps/venv/lib/python3.11/site-packages/nvidia"
    assert (wheels / "cu13/lib64").resolve() == wheels / "cu13/lib"
    assert (wheels / "cu13/lib/libcudart.so").readlink().name == "libcudart.so.13"
    assert (wheels / "cu13/lib/libnvrtc.alt.so").readlink().name == "libnvrtc.alt.so.13.0"
    assert (wheels / "nccl/lib/libnccl.so").readlink().name == "libnccl.so.2"
    assert not (wheels / "cu13/lib/libplain.so").is_symlink()
    configure, build = calls_of(setup, "cmake")
    for word in ("-G Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBRAID_CUDA=ON",
                 f"-DBRAID_VENV={setup.checkout}/.deps/venv",
                 "-DBRAID_CUDA_ARCHITECTURES=8.0;8.6;8.9;9.0;10.0;12.0+PTX"):
        assert word in configure, configure
    assert build == f"cmake --build {setup.checkout}/build -j 2"  # 4 GiB where no memory is known: one job per 2 GiB
    assert f"TMPDIR={setup.checkout}/.deps/tmp" in only_line("\n".join(calls_of(setup, "pip")))
    assert calls_of(setup, "apt-get") == []


def test_a_second_run_does_nothing_twice_and_keeps_the_options_of_the_first(setup):
    done(setup.setup("--arch", "9.0,10.0+PTX", "--build-type", "Debug"))
    before = len(setup.calls())
    result = done(setup.setup())
    assert [call.split()[1] for call in setup.calls()[before:]] == ["-S", "--build"]
    assert "-D" not in setup.calls()[before]
    assert "Debug, CUDA for 9.0;10.0+PTX" in result.stdout


def test_changed_requirements_are_installed(setup):
    done(setup.setup())
    requirements = setup.checkout / "launch/requirements.txt"
    requirements.write_text(requirements.read_text() + "wheel==1.0\n")
    done(setup.setup())
    assert len(calls_of(setup, "pip")) == 2


def test_without_cuda_nvcc_is_not_asked_and_demo_and_test_keep_it_so(setup):
    setup.driver("470.1")
    done(setup.setup("--no-cuda"))
    result = done(setup.setup())
    assert "without CUDA" in result.stdout and calls_of(setup, "nvcc") == []
    assert "-DBRAID_CUDA=OFF" in calls_of(setup, "cmake")[0]


def test_the_gpus_present_choose_the_architectures(setup):
    setup.driver("580.65.06")
    setup.gpus(("NVIDIA H200", 143771, "9.0"), ("NVIDIA L4", 23034, "8.9"), ("NVIDIA L4", 23034, "8.9"),
               ("Tesla P4", 7611, "6.1"))
    result = done(setup.setup())
    assert "GPU 0: NVIDIA H200, 143771 MiB, capability 9.0" in result.stdout
    assert "-DBRAID_CUDA_ARCHITECTURES=8.9;9.0 " in calls_of(setup, "cmake")[0] + " "


def test_an_old_driver_is_one_line_unless_the_cpu_is_asked_for(setup):
    setup.driver("570.86.10")
    result = setup.setup()
    assert result.returncode == 1 and setup.calls() == []
    line = only_line(result.stderr)
    assert "570.86.10" in line and "580" in line and "--device cpu" in line
    done(setup.setup("--device", "cpu"))


@pytest.mark.parametrize("vendor, kind, code", [
    ("0x10de", "0x030200", 1), ("0x10de", "0x040300", 0), ("0x1002", "0x030000", 0)])
def test_hardware_without_a_driver_is_one_line(setup, vendor, kind, code):
    device = setup.probe / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text(vendor + "\n")
    (device / "class").write_text(kind + "\n")
    result = setup.setup()
    assert result.returncode == code, result.stderr
    if code:
        assert "no loaded driver" in only_line(result.stderr)


def test_too_little_disk_stops_before_anything_is_changed(setup):
    setup.program("df", "printf 'Filesystem 1024-blocks Used Available\\n/dev/x 0 0 5000000 1%% /\\n'")
    result = setup.setup()
    line = only_line(result.stderr)
    assert result.returncode == 1 and "4882 MiB are free, 9000 MiB are needed" in line
    assert setup.calls() == []


def test_only_what_is_missing_counts_for_the_disk(setup):
    done(setup.setup())
    setup.program("braid", "", folder=setup.checkout / "build")
    setup.program("df", "printf 'Filesystem 1024-blocks Used Available\\n/dev/x 0 0 5000 1%% /\\n'")
    done(setup.setup())


def test_only_missing_packages_are_installed(setup):
    setup.program("dpkg-query", r'for p in "$@"; do [[ $p == -* || $p =~ boost|ninja ]] || echo "installed $p"; done')
    done(setup.setup())
    update, install = calls_of(setup, "apt-get")
    assert update.endswith("| apt-get update")
    assert install.endswith("DPkg::Lock::Timeout=300 ninja-build libboost-dev")


def test_without_rights_the_missing_packages_are_named(setup):
    setup.user("someone")
    setup.program("dpkg-query", r'for p in "$@"; do [[ $p == -* || $p =~ boost|ninja ]] || echo "installed $p"; done')
    result = setup.setup()
    assert result.returncode == 1 and setup.calls() == []
    assert "apt-get install ninja-build libboost-dev (" in only_line(result.stderr)


def test_sudo_is_used_where_it_asks_for_nothing(setup):
    setup.user("someone")
    setup.program("dpkg-query", "exit 1")
    setup.program("sudo", 'shift; echo "sudo $*" >>"$CALLS"; exec "$@"')
    done(setup.setup())
    assert any(call.startswith("sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y") for call in setup.calls())


def test_packages_can_be_left_to_the_user(setup):
    setup.program("dpkg-query", "exit 1")
    done(setup.setup(BRAID_SKIP_APT="1", BRAID_CMAKE_ARGS="-DTorch_DIR=/opt/torch -DHDF5_ROOT=/opt/hdf5"))
    assert calls_of(setup, "apt-get") == []
    assert calls_of(setup, "cmake")[0].endswith("-DTorch_DIR=/opt/torch -DHDF5_ROOT=/opt/hdf5")


def test_no_network_is_one_line_that_names_the_log(setup):
    offline = setup.calls_file.parent / "offline"
    offline.touch()
    result = setup.setup()
    line = only_line(result.stderr)
    assert result.returncode == 1
    assert "pip install failed" in line and "cannot be reached" in line and ".deps/setup.log" in line
    offline.unlink()
    done(setup.setup())
    assert len(calls_of(setup, "pip")) == 2


# A missing openmpi-bin needs a library and, were it not this machine's own, the C library.
APT_WITHOUT_ROOT = r"""
echo "apt-get $*" >>"$CALLS"
case "$*" in
  *" -s install "*)
    echo "Inst openmpi-bin (4.1.4-3 Debian:12 [amd64])"
    echo "Inst libpmix2 [4.2.1] (4.2.2-1 Debian:12 [amd64])"
    echo "Inst libc6-dev (2.36-9 Debian:12 [amd64])" ;;
  *" download "*) touch openmpi-bin_4.1.4_amd64.deb libpmix2_4.2.2_amd64.deb ;;
esac
"""
# openmpi-bin has a program under its full name and a link to a library of /usr; libpmix2 a text that names /usr.
DPKG_DEB = r"""
mkdir -p "$3/usr/bin" "$3/usr/lib/x86_64-linux-gnu/pmix2/lib" "$3/usr/lib/x86_64-linux-gnu/pkgconfig"
case $2 in
  *openmpi*) touch "$3/usr/bin/mpirun.openmpi" "$3/usr/bin/orted"; chmod +x "$3/usr/bin/orted"
    ln -s /usr/lib/x86_64-linux-gnu/pmix2/lib/libpmix.so.2 "$3/usr/lib/x86_64-linux-gnu/libpmix.so.2"
    ln -s ../bin/env "$3/usr/lib/env" ;;
  *) touch "$3/usr/lib/x86_64-linux-gnu/pmix2/lib/libpmix.so.2"
    printf 'prefix=/usr\nlibdir=/usr/lib/x\n' >"$3/usr/lib/x86_64-linux-gnu/pkgconfig/pmix.pc" ;;
esac
"""


@pytest.fixture
def without_root(setup):
    setup.user("someone")
    setup.program("dpkg-query", r'for p in "$@"; do [[ $p == -* || $p == openmpi-bin ]] || echo "installed $p"; done')
    setup.program("apt-get", APT_WITHOUT_ROOT)
    setup.program("dpkg-deb", DPKG_DEB)
    setup.program("gcc", "echo x86_64-linux-gnu")
    setup.prefix = setup.checkout.parent / "prefix"
    return setup


def sourced(machine, *names):
    script = f'source {machine.prefix}/env.sh; for name in {" ".join(names)}; do echo "${{!name}}"; done'
    return subprocess.run(["bash", "-c", script], text=True, capture_output=True, check=True,
                          env={"PATH": "/usr/bin:/bin"}).stdout.splitlines()


def test_packages_are_unpacked_without_root(without_root):
    result = done(without_root.setup("--prefix", str(without_root.prefix)))
    assert "packages: 2 unpacked" in result.stdout
    download = next(call for call in without_root.calls() if " download " in call)
    assert download.endswith(" download openmpi-bin=4.1.4-3 libpmix2=4.2.2-1")  # the C library is this machine's own
    assert "-o Dir::State::Lists=" in download and "sudo" not in download
    assert (without_root.prefix / "packages").read_text() == "openmpi-bin\n"
    assert any(f"-DBRAID_PREFIX={without_root.prefix}" in call for call in calls_of(without_root, "cmake"))


def test_what_was_unpacked_leads_to_the_prefix(without_root):
    done(without_root.setup("--prefix", str(without_root.prefix)))
    usr = without_root.prefix / "usr"
    libraries = usr / "lib/x86_64-linux-gnu"
    assert (usr / "bin/mpirun").resolve() == usr / "bin/mpirun.openmpi"
    assert (libraries / "libpmix.so.2").resolve() == libraries / "pmix2/lib/libpmix.so.2"
    assert (usr / "lib/env").resolve() == Path("/usr/bin/env").resolve()  # its package is installed here
    assert (libraries / "pkgconfig/pmix.pc").read_text() == f"prefix={usr}\nlibdir={usr}/lib/x\n"
    path, loader, opal, pmix = sourced(without_root, "PATH", "LD_LIBRARY_PATH", "OPAL_PREFIX", "PMIX_PKGLIBDIR")
    assert path.startswith(f"{usr}/bin:") and loader == str(libraries / "pmix2/lib")
    assert (opal, pmix) == (str(usr), str(libraries / "pmix2/lib/pmix"))


def test_the_prefix_is_remembered_and_left_alone(without_root):
    done(without_root.setup("--prefix", str(without_root.prefix)))
    without_root.calls_file.unlink()
    result = done(without_root.setup())
    assert "packages: nothing missing" in result.stdout
    assert calls_of(without_root, "apt-get") == []


def test_launch_scripts_use_the_builds_prefix(without_root):
    done(without_root.setup("--prefix", str(without_root.prefix)))
    without_root.program("mpirun", 'echo "OPAL_PREFIX=$OPAL_PREFIX" >>"$CALLS"', folder=without_root.prefix / "usr/bin")
    without_root.recorder("braid", folder=without_root.checkout / "build")
    (without_root.checkout / "one.toml").write_text("[train]\nsteps = 1\n")
    done(without_root.run("local", "--device", "cpu", "one.toml"))
    assert without_root.calls()[-1] == f"OPAL_PREFIX={without_root.prefix}/usr"


def test_a_prefix_needs_a_compiler_of_the_machine(without_root):
    (without_root.programs / "g++").unlink()
    programs = without_root.checkout.parent / "few"
    programs.mkdir()
    for name in ("bash", "dirname", "sed", "cat", "grep", "mkdir", "date", "flock", "sha256sum", "cut", "awk", "df", "du", "tail"):
        (programs / name).symlink_to(f"/usr/bin/{name}")
    result = without_root.setup("--prefix", str(without_root.prefix), PATH=f"{without_root.programs}:{programs}")
    assert result.returncode == 1 and "C++ compiler" in only_line(result.stderr)


def test_wheels_come_from_a_folder(setup):
    (setup.checkout / "wheels").mkdir()
    done(setup.setup("--wheels", "wheels"))
    pip = next(call for call in setup.calls() if call.startswith("pip "))
    assert "--no-index --find-links wheels -r " in pip


def test_packages_for_tests_are_left_out_without_root(setup):
    setup.user("someone")
    setup.program("dpkg-query", r'for p in "$@"; do [[ $p == -* || $p == slurm* ]] || echo "installed $p"; done')
    result = done(setup.setup("--test-packages"))
    assert "slurmctld slurmd slurm-client left out" in result.stdout and calls_of(setup, "apt-get") == []


def test_packages_for_tests_that_cannot_be_had_are_no_failure(setup):
    setup.program("dpkg-query", r'for p in "$@"; do [[ $p == -* || $p == munge ]] || echo "installed $p"; done')
    setup.recorder("apt-get", code=100)
    result = done(setup.setup("--test-packages"))
    assert "munge could not be installed" in result.stdout


def test_wheels_for_tests_are_installed_once_and_only_for_them(setup):
    done(setup.setup())
    assert not [call for call in setup.calls() if "requirements-tests" in call]
    done(setup.setup("--test-packages"))
    done(setup.setup("--test-packages"))
    assert len([call for call in setup.calls() if "requirements-tests.txt" in call]) == 1


def test_wheels_for_tests_that_cannot_be_had_are_no_failure(setup):
    done(setup.setup())
    (setup.calls_file.parent / "offline").touch()
    result = done(setup.setup("--test-packages"))
    assert "tests that need them will be skipped" in result.stdout
    assert result.stdout.splitlines()[-1].startswith("launch/setup: ready after ")


def test_a_failed_build_names_the_first_error(setup):
    (setup.calls_file.parent / "broken").touch()
    result = setup.setup()
    assert result.returncode == 1
    assert "x.cpp:3:1: error: no such thing" in only_line(result.stderr)


def test_a_build_folder_of_another_checkout_is_refused(setup):
    build = setup.checkout / "build"
    build.mkdir()
    (build / "CMakeCache.txt").write_text("CMAKE_HOME_DIRECTORY:INTERNAL=/elsewhere\n")
    result = setup.setup()
    assert result.returncode == 1 and "/elsewhere" in only_line(result.stderr)


@pytest.mark.parametrize("arguments", [
    ["--arch", "hopper"], ["--jobs", "many"], ["--wheels", "nowhere"], ["--prefix", "/proc/nowhere"], ["--build-type", "Fast"], ["--frobnicate"]])
def test_wrong_use_is_one_line(setup, arguments):
    result = setup.setup(*arguments)
    assert result.returncode == 2 and arguments[0] in only_line(result.stderr)
    assert setup.calls() == []


@pytest.mark.parametrize("script", ["setup", "local", "demo", "test", "submit"])
def test_help_is_the_scripts_own_comment(setup, script):
    result = done(setup.run(script, "--help"))
    assert result.stdout.startswith(f"launch/{script} [") and "set -e" not in result.stdout


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-tests.txt"])
def test_every_wheel_is_pinned(name):
    lines = [line for line in (ROOT / "launch" / name).read_text().splitlines() if not line.startswith("#")]
    assert lines and all(re.fullmatch(r"[a-z0-9-]+(\[[a-z,]+\])?==[0-9.]+", line) for line in lines)
