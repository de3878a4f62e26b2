"""The command line: a table of verbs, each loaded only when it is called. `rilievo --help` imports nothing heavy."""

from __future__ import annotations

import sys
from collections.abc import Sequence

# verb -> (module, function, one line)
VERBS: dict[str, tuple[str, str, str]] = {
    "plan": ("rilievo.commands.plan", "plan", "where to take photos from: object, facade, room, area by drone"),
    "check": ("rilievo.commands.check", "check", "which photos are bad, what is missing, which to take next"),
    "prepare": ("rilievo.commands.prepare", "prepare", "copies of photos, repaired, enlarged or cut out, with proof"),
    "mask": ("rilievo.commands.mask", "mask", "mask sky, people, moving things, mirrors, glass, background in photos"),
    "build": ("rilievo.commands.build", "build", "photos or a video in, textured 3D model and report out"),
    "depth": ("rilievo.commands.depth", "depth", "one photo in, depth map and 3D surface out"),
    "render": ("rilievo.commands.render", "render", "a video or frames along a path of the camera"),
    "splats": ("rilievo.commands.splats", "splats", "Gaussian splats of photos whose cameras are known"),
    "field": ("rilievo.commands.field", "field", "a radiance field of photos whose cameras are known"),
    "view": ("rilievo.commands.view", "view", "a house or files of models in the browser: turn, measure, compare"),
    "share": ("rilievo.commands.share", "share", "one web page of a model that opens from disk, also on a phone"),
    "serve": ("rilievo.commands.serve", "serve", "the studio in the browser: photos in, everything without a terminal"),
    "export": ("rilievo.commands.export", "export", "write a finished model in another format"),
    "info": ("rilievo.commands.inspect", "info", "what a project holds and how good it is"),
    "why": ("rilievo.commands.inspect", "why", "why a photo was or was not placed"),
    "evaluate": ("rilievo.commands.evaluate", "evaluate", "compare a result with known truth"),
    "measure": ("rilievo.commands.measure", "measure", "lengths in a photo of `rilievo depth`, with their plus-minus"),
    "doctor": ("rilievo.commands.doctor", "doctor", "what this machine has, and a self-test of each kernel"),
    "weights": ("rilievo.commands.weights", "weights", "list or get the files of learned models"),
    "clean": ("rilievo.commands.inspect", "clean", "delete what no current result of a project needs"),
}


def usage() -> str:
    """The text of `rilievo --help`."""
    width = max(map(len, VERBS))
    lines = [
        "usage: rilievo VERB INPUT... [-o HOUSE] [options]",
        "",
        "Photos in, measured 3D out, on a plain CPU.",
        "",
        *(f"  {verb:<{width}}  {line}" for verb, (_, _, line) in VERBS.items()),
        "",
        "`rilievo VERB --help` explains one verb. Start with: rilievo build MY_PHOTOS -o model",
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns 0 done, 1 could not do it, 2 wrong usage, 130 interrupted."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if args[0] in ("--version", "-V", "version"):
        from rilievo import __version__

        print(f"rilievo {__version__}")
        return 0
    verb = args.pop(0)
    if verb not in VERBS:
        import difflib

        near = difflib.get_close_matches(verb, VERBS, 1)
        hint = f"did you mean `rilievo {near[0]}`?" if near else "`rilievo --help` lists the verbs"
        print(f"error: unknown verb {verb!r}\nhint:  {hint}", file=sys.stderr)
        return 2
    return run_verb(verb, args)


def run_verb(verb: str, args: list[str]) -> int:
    """Parses the options of a verb, runs it and turns errors into messages and exit codes."""
    import importlib

    from rilievo import interrupt
    from rilievo.errors import RilievoError

    interrupt.listen()
    module, name, _ = VERBS[verb]
    try:
        import tyro

        function = getattr(importlib.import_module(module), name)
        style = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
        return tyro.cli(function, prog=f"rilievo {verb}", args=args, config=style) or 0
    except RilievoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: finished work is kept; the same command goes on from here", file=sys.stderr)
        return 130
    except MemoryError:
        print(
            "error: the machine ran out of memory\n"
            "hint:  close other programs, or run again with --quality draft or a lower --memory limit",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 2


if __name__ == "__main__":
    sys.exit(main())
