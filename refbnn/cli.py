"""The command line: `refbnn conform`, `emit`, `check`, `matrix`, `list`, `explain`, `scaffold`, `selftest`, `budget`."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from typing import Any, Iterable, Sequence

EXAMPLES = """\
examples:
  refbnn conform autograd             a real implementation, every case: seconds
  refbnn scaffold mine.py             an adapter to start from; it runs as it is
  refbnn conform mine.py -k 'ggn.*'   one's own code, one family of quantities
  refbnn conform mine.py --report mine.html --report mine.jsonl
  refbnn matrix mine.jsonl theirs.jsonl --report both.html
  refbnn explain tanh-normal-2-5-3 ggn.full --adapter mine.py
  refbnn budget puromycin --width 1   what approximate inference costs: seconds

exit codes: 0 everything right, 1 something wrong, 2 usage, 3 nothing or not all
of it ran, 4 undecided, 130 interrupted
"""
CONFORM = """\
Ask ADAPTER for every quantity of every certified case and judge its answers.
The last line says ran (answered and judged) / declared (the adapter has a
function and declares no gap) / total.

ADAPTER is a built-in name (see `refbnn list adapters`), module:object, path.py,
or 'cmd:PROGRAM ARGS' for a program in any language that speaks the protocol of
refbnn/conform/PROTOCOL.md. An adapter is a program: it runs with your rights,
in a process of its own."""
EMIT = """\
Write every question to FILE, one JSON object a line, to be answered anywhere:
  refbnn emit questions.jsonl && PROGRAM < questions.jsonl > answers.jsonl
  refbnn check answers.jsonl
refbnn/conform/PROTOCOL.md describes questions and answers."""
CHECK = """\
Judge answers to the questions that `refbnn emit` wrote, in any order. With the
-k that `emit` was given; what is not answered counts as not run."""


class Usage(Exception):
    """A request that cannot be carried out as it was put; exit code 2."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except Usage as error:
        print(f"refbnn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("refbnn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception:  # the boundary: a traceback of our own must not look like a verdict, and Python would exit with 1
        traceback.print_exc()
        print("refbnn: this is a fault of refbnn itself, not of an adapter", file=sys.stderr)
        return 3


def _parser() -> argparse.ArgumentParser:
    from refbnn import __version__
    parser = argparse.ArgumentParser(prog="refbnn", epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description="Check implementations of Bayesian neural networks, digit by digit.")
    parser.add_argument("--version", action="version", version=f"refbnn {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_conform(commands)
    _add_emit(commands)
    _add_check(commands)
    _add_matrix(commands)
    _add_list(commands)
    _add_explain(commands)
    _add_scaffold(commands)
    _add_budget(commands)
    selftest = commands.add_parser("selftest", help="show that every verdict can fail", description=(
        "Plant faults and see that every comparison and every verdict notices its own."))
    selftest.set_defaults(command=_selftest)
    return parser


def _add_conform(commands) -> None:
    parser = commands.add_parser("conform", help="check an adapter against the certified cases", description=CONFORM,
                                 formatter_class=argparse.RawDescriptionHelpFormatter, epilog=EXAMPLES)
    parser.add_argument("adapter", metavar="ADAPTER")
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=60.0,
                        help="limit for one call (default 60); an adapter has at least 120 to start")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the adapter prints")
    _add_globs(parser)
    _add_judging(parser)
    parser.set_defaults(command=_conform)


def _add_globs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-k", metavar="GLOB", action="append", default=[], dest="globs",
                        help="only checks whose case, quantity or case::quantity matches (may be repeated)")


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--report", metavar="FILE", action="append", default=[], dest="reports",
                        help="also to a file that ends in .jsonl, .md, .html or .xml (JUnit); may be repeated")
    parser.add_argument("--baseline", metavar="FILE.jsonl",
                        help="fail for what changed since this report alone: NEW failures, FIXED or STALE ones")
    parser.add_argument("--strict-digits", action="store_true", help="LOSSY (right formula, digits lost) fails as well")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")


def _add_emit(commands) -> None:
    parser = commands.add_parser("emit", help="write the questions to a file, to be answered elsewhere", description=EMIT,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE")
    _add_globs(parser)
    parser.set_defaults(command=_emit)


def _add_check(commands) -> None:
    parser = commands.add_parser("check", help="judge answers in a file", description=CHECK,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE")
    _add_globs(parser)
    _add_judging(parser)
    parser.set_defaults(command=_check)


def _add_matrix(commands) -> None:
    parser = commands.add_parser("matrix", help="quantities by implementations, from several reports", description=(
        "Put reports of `refbnn conform --report FILE.jsonl` beside each other."))
    parser.add_argument("files", metavar="REPORT.jsonl", nargs="+")
    parser.add_argument("--report", metavar="FILE", action="append", default=[], dest="reports",
                        help="also to a file that ends in .md or .html; may be repeated")
    parser.set_defaults(command=_matrix)


def _add_list(commands) -> None:
    parser = commands.add_parser("list", help="list cases, quantities, adapters or conventions")
    parser.add_argument("what", nargs="?", choices=("cases", "quantities", "adapters", "conventions"),
                        help="default: all of them")
    parser.set_defaults(command=_list)


def _add_explain(commands) -> None:
    parser = commands.add_parser("explain", help="what one check asks and how its value was certified")
    parser.add_argument("case", metavar="CASE")
    parser.add_argument("quantity", metavar="QUANTITY")
    parser.add_argument("--adapter", help="put this adapter's answer and its diagnosis beside it (runs the adapter)")
    parser.add_argument("--timeout", metavar="S", type=_seconds, default=60.0)
    parser.set_defaults(command=_explain)


def _add_scaffold(commands) -> None:
    parser = commands.add_parser("scaffold", help="write an adapter to start from")
    parser.add_argument("file", metavar="FILE.py")
    parser.set_defaults(command=_scaffold)


def _add_budget(commands) -> None:
    from refbnn.budget import command
    command.add(commands).set_defaults(command=_budget)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a positive number of seconds, got {text}")
    return value


def _conform(options: argparse.Namespace) -> int:
    from refbnn import progress
    from refbnn.conform import case, load, run
    _check_files(options)
    plan = _plan(case.read_all("*"), options.globs)
    try:
        load.check_spec(options.adapter)
        with progress.Progress(run.count(plan)) as watch:
            result = run.run(options.adapter, plan, timeout=options.timeout, echo=options.verbose, watch=watch)
    except load.LoadError as error:
        raise Usage(str(error)) from error
    return _told(result, options)


def _told(result: Any, options: argparse.Namespace) -> int:
    """Say what came of a run, on the terminal and in files; the exit code."""
    from refbnn import progress
    from refbnn.conform import report, reports, run
    from refbnn.conform.reports import baseline
    with progress.Progress(len(result.failing)) as watch:
        findings = run.findings(result, watch)
    for path in options.reports:
        reports.write(path, result, findings, options.strict_digits)
    code, text = result.exit_code(options.strict_digits), ""
    if options.old:
        changes = baseline.compare(result, options.old, options.strict_digits)
        code = changes.exit_code(code)
        text = "\n" + baseline.render(changes, options.baseline, report.OUTCOMES[code][0])
    _print(report.render(result, findings, report.style_for(sys.stdout, options.color), options.strict_digits) + text)
    return code


def _matrix(options: argparse.Namespace) -> int:
    from refbnn.conform import reports
    from refbnn.conform.reports import matrix
    _refuse_unwritable(options.reports, reports.MATRIX_FORMATS)
    table = matrix.Matrix(tuple(_read_report(path) for path in options.files))
    for path in options.reports:
        reports.write_matrix(path, table)
    _print(matrix.render(table))
    return 0


def _emit(options: argparse.Namespace) -> int:
    from refbnn import files
    from refbnn.conform import case, offline, run
    plan = _plan(case.read_all("*"), options.globs)
    if trouble := files.unwritable(options.file):
        raise Usage(trouble)
    files.write(options.file, (line.decode("ascii") for line in offline.questions(plan)))
    print(f"wrote {run.count(plan)} questions on {len(plan)} cases to {options.file}; their answers: refbnn check FILE")
    return 0


def _check(options: argparse.Namespace) -> int:
    from refbnn.conform import case, load, offline
    _check_files(options)
    plan = _plan(case.read_all("*"), options.globs)
    try:
        return _told(offline.judge(options.file, plan), options)
    except OSError as error:
        raise Usage(f"cannot read {options.file}: {error.strerror}") from None
    except (offline.FileError, load.LoadError) as error:
        raise Usage(str(error)) from error


def _plan(cases: Sequence[Any], globs: Sequence[str]) -> Any:
    from refbnn.conform import run
    try:
        return run.plan(cases, globs)
    except ValueError as error:
        raise Usage(str(error)) from error


def _check_files(options: argparse.Namespace) -> None:
    """Refuse reports that could not be written, and read the baseline, before the work is done."""
    from refbnn.conform import reports
    _refuse_unwritable(options.reports, reports.FORMATS)
    options.old = _read_report(options.baseline) if options.baseline else None


def _refuse_unwritable(paths: Sequence[str], formats: Iterable[str]) -> None:
    from refbnn.conform import reports
    for path in paths:
        if trouble := reports.unwritable(path, formats):
            raise Usage(f"--report: {trouble}")


def _read_report(path: str) -> Any:
    from refbnn.conform.reports import records
    try:
        return records.read(path)
    except records.ReportError as error:
        raise Usage(str(error)) from error


def _list(options: argparse.Namespace) -> int:
    from refbnn.conform import listing
    sections = [options.what] if options.what else list(listing.SECTIONS)
    _print("\n\n".join(listing.SECTIONS[section]() for section in sections) + "\n")
    return 0


def _explain(options: argparse.Namespace) -> int:
    from refbnn.conform import explain, listing, load
    try:
        case, quantity = listing.find(options.case, options.quantity)
        text, code = explain.question(case, quantity), 0
        if options.adapter is not None:
            answer, code = explain.answer(case, quantity, options.adapter, options.timeout)
            text += "\n\n" + answer
    except (load.LoadError, listing.Unknown) as error:
        raise Usage(str(error)) from error
    _print(text + "\n")
    return code


def _scaffold(options: argparse.Namespace) -> int:
    from refbnn.conform import scaffold
    try:
        scaffold.write(options.file)
    except FileExistsError:
        raise Usage(f"{options.file} exists already; nothing was written") from None
    except (OSError, ValueError) as error:
        raise Usage(f"cannot write {options.file}: {error}") from None
    print(f"wrote {options.file}; now: refbnn conform {options.file}")
    return 0


def _budget(options: argparse.Namespace) -> int:
    from refbnn.budget import command
    try:
        _print(command.run(options))
    except (OSError, *command.REFUSALS) as error:
        raise Usage(f"budget: {error}") from error
    return 0


def _selftest(options: argparse.Namespace) -> int:
    from refbnn.conform import selftest
    return selftest.main()


def _print(text: str) -> None:
    """To stdout, with mathematics spelt out where its encoding has no letters for it."""
    from refbnn.conform import report
    sys.stdout.write(report.style_for(sys.stdout).plain(text))
    sys.stdout.flush()
