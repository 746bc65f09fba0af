"""python matrix_data.py REPORT.jsonl... : the matrix of these reports as data, a line for each implementation and quantity."""
import json
import sys

from refbnn.conform.reports import matrix, records


def lines(report):
    """What was asked of one implementation, quantity by quantity."""
    for name in matrix.Matrix((report,)).rows:
        cell = matrix.cell([check for check in report.checks if check.quantity == name])
        yield {"implementation": report.name, "version": report.version, "date": report.date, "quantity": name,
               "verdict": cell.verdict, "digits": cell.digits, "passed": cell.passed, "asked": cell.asked}


if __name__ == "__main__":
    for path in sys.argv[1:]:
        for line in lines(records.read(path)):
            print(json.dumps(line, ensure_ascii=False))
