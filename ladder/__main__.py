"""`python3 -m ladder`: checks the Python version, sets up `.venv` if need be, then runs the command line."""

# Written so that old versions of Python can parse it too: they get the sentence below and no traceback.
import sys

if __name__ == "__main__":
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        import shutil

        found = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
        sys.exit(
            "error: Python 3.11, 3.12 or 3.13 is needed, this is {}.{} ({}): {}".format(
                sys.version_info[0],
                sys.version_info[1],
                sys.executable,
                "run `{} -m ladder {}`".format(found[0], " ".join(sys.argv[1:])).rstrip()
                if found
                else "install one of them and run it with `-m ladder`",
            )
        )
    from ladder.bootstrap import main

    sys.exit(main(sys.argv[1:]))
