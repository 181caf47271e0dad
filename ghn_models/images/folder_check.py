"""Check of a folder of images before it is listed: links in a circle, and files that never end."""

import os

from ghn_models.images.decode import ImageError


def check_folder(folder: str) -> None:
    """Check that a folder can be listed with the folders that links lead to.

    Raises:
        ImageError: a link leads to a folder that it is in, so that the same images would be found again and again; or
            there is something that is neither a file nor a folder, such as a pipe, whose end a reader waits for.
    """
    waiting: list[tuple[str, tuple[str, ...]]] = [(folder, (os.path.realpath(folder),))]
    while waiting:
        path, around = waiting.pop()
        with os.scandir(path) as entries:
            for entry in entries:
                if entry.is_dir():
                    inside = os.path.realpath(entry.path)
                    if inside in around:
                        raise ImageError(f"{entry.path} is a link to a folder that it is in; remove it")
                    waiting.append((entry.path, (*around, inside)))
                elif not entry.is_file():
                    raise ImageError(f"{entry.path} is a broken link, or no regular file; remove it")
