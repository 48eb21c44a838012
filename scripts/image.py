"""Build the image of deploy/Dockerfile in a folder, without a container engine, and run its commands in it.

    scripts/image.py FOLDER

It reads the Dockerfile's own instructions: FROM is a Debian with Python by debootstrap, RUN is a shell in a chroot,
COPY copies. Then scripts/contained.sh runs each command: as process 1, as the image's user, on a read-only filesystem.
It needs root, debootstrap, Debian's mirror (DEBIAN_MIRROR names another one) and PyPI; it takes some minutes.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ  # noqa: TID251 of this program, no setting of eventkit
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
RELEASE = "trixie"  # of the base image
PACKAGES = "python3,python3-venv,ca-certificates"
GIVEN = ("PIP_", "http_proxy", "https_proxy", "HTTP", "SSL_", "REQUESTS_")  # settings of this machine for pip
OF_THIS_MACHINE = ("/etc/resolv.conf", "/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt")
COMMANDS = (
    "eventkit --version",
    "eventkit relay run --help",
    "eventkit web --help",
    "python -c 'import examples.shop_workers, prometheus_client'",
    "uvicorn --version",
)


def main(folder: Path) -> None:
    """Build the image, then run its commands."""
    base = folder / "base"
    if not (base / "usr/bin/python3").exists():
        mirror = ENVIRONMENT.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
        _run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(base), mirror)
        for file in filter(os.path.exists, OF_THIS_MACHINE):
            (base / file[1:]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, base / file[1:])
        (base / "usr/local/bin/python").symlink_to("/usr/bin/python3")  # where the base image has it
    image = Build(folder).build()
    for command in COMMANDS:
        print(f"--- {command}", flush=True)
        environment = [f"{name}={value}" for name, value in image.env.items()]
        _run(str(ROOT / "scripts/contained.sh"), str(image.root), "env", *environment, *shlex.split(command))
    print(f"the image of {DOCKERFILE.relative_to(ROOT)} is in {image.root}, and its commands run")


class Build:
    """One build: the stages so far, and the state of the current one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder
        self.stages: dict[str, Path] = {}
        self.work = "/"
        self.env: dict[str, str] = {}

    def build(self) -> "Build":
        """Carry out the instructions; LABEL, STOPSIGNAL and CMD change no file."""
        for instruction, rest in instructions():
            print(f"{instruction} {rest}", flush=True)
            if step := getattr(self, f"do_{instruction.lower()}", None):
                step(rest)
        return self

    def do_from(self, rest: str) -> None:
        """Begin a stage as a copy of the base."""
        name = rest.partition(" AS ")[2] or "last"
        self.root = self.stages[name] = self.folder / name
        self.env, self.work = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}, "/"
        shutil.rmtree(self.root, ignore_errors=True)
        _run("cp", "-a", str(self.folder / "base"), str(self.root))

    def do_workdir(self, rest: str) -> None:
        """Make the working directory."""
        self.work = rest
        self.inside(rest).mkdir(parents=True, exist_ok=True)

    def do_env(self, rest: str) -> None:
        """Set variables for later steps and for the commands."""
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            self.env[name] = value.replace("$PATH", self.env["PATH"])

    def do_copy(self, rest: str) -> None:
        """Copy files of the checkout or of another stage; a folder's content goes into the target."""
        *sources, target = rest.split()
        origin = ROOT
        if sources[0].startswith("--from="):
            origin = self.stages[sources.pop(0).partition("=")[2]]
        for source in sources:
            found, to = origin / source.lstrip("/"), self.inside(target)
            if found.is_dir():
                shutil.copytree(found, to, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(found, to)

    def do_run(self, rest: str) -> None:
        """Run a shell command as root in the stage."""
        given = {name: value for name, value in ENVIRONMENT.items() if name.startswith(GIVEN)}
        words = ["env", "-i", f"--chdir={self.work}", *(f"{k}={v}" for k, v in {**given, **self.env}.items())]
        _run("chroot", str(self.root), *words, "sh", "-c", rest)

    def inside(self, path: str) -> Path:
        """Return the place on this machine of a path in the stage."""
        return self.root / os.path.normpath(os.path.join(self.work, path)).lstrip("/")  # noqa: PTH118 of another root


def instructions() -> Iterator[tuple[str, str]]:
    """Yield each instruction of the Dockerfile with its arguments, lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        instruction, _, rest = line.partition(" ")
        yield instruction, rest.strip()


def _run(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 the program and the folder
        sys.exit(__doc__)
    main(Path(sys.argv[1]).absolute())
