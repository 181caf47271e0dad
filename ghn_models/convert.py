"""Convert published weights, once.

    python -m ghn_models.convert ghn3_t.imagenet_m8 --hub --trust --allow-unpinned
    python -m ghn_models.convert ghn2.cifar10 --file ghn2_cifar10.pt --trust

Published weights are pickles, a format whose files can run programs. Only this command reads them, after you have said
that you trust the file (--trust). It compares the file's sha256 with the one that you expect (--sha256), or, for the
files of GHN-1, GHN-2 and MLP, their git ids with the known ones, unless you accept any (--allow-unpinned). It builds
tensors and containers only; a file that asks for anything else is refused before anything of it runs. The result is a
folder with safetensors, which `ghn_models.load` reads.
"""

# What needs PyTorch is imported after the options are parsed, so that --help and --version are quick.
import argparse
import sys
from pathlib import Path

from deepnets.utils.command_line import command_line, run_command
from ghn_models.checkpoints.published_files import PUBLISHED


def main(arguments: list[str] | None = None) -> int:
    """Run the command, see `run_command`."""
    return run_command(lambda: _main(arguments), arguments)


def _main(arguments: list[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m ghn_models.convert", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=PUBLISHED, metavar="NAME", help=", ".join(PUBLISHED))
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--file", type=Path, help="the published file")
    source.add_argument("--hub", action="store_true", help="download it from the Hugging Face hub")
    parser.add_argument("--out", type=Path, help="folder of the checkpoint; by default where ghn_models.load finds it")
    parser.add_argument("--trust", action="store_true", help="you trust the file, which is a pickle")
    parser.add_argument("--sha256", help="of the file")
    parser.add_argument("--allow-unpinned", action="store_true", help="accept a file without a known hash")
    return _convert(parser.parse_args(command_line(arguments)))


def _convert(args: argparse.Namespace) -> int:
    from ghn_models.checkpoints import folder as checkpoints
    from ghn_models.conversion import check_trust, convert, download

    folder = args.out or checkpoints.cache_dir() / args.name
    if (folder / checkpoints.CONFIG).exists():
        raise checkpoints.CheckpointError(f"{folder} has a checkpoint; choose another folder with --out")
    check_trust(args.name, args.trust, args.sha256, args.allow_unpinned)  # before anything is fetched
    path = download(args.name) if args.hub else args.file
    convert(args.name, path, folder, args.trust, args.sha256, args.allow_unpinned)
    print(f"{args.name} is in {folder}; ghn_models.load({str(args.out or args.name)!r}) reads it from there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
