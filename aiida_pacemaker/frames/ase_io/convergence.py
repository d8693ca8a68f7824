"""Whether the calculations of a file were self-consistent when they ended, where the file tells."""

from __future__ import annotations

import re

#: What stands once in the output of each structure behind its self-consistent cycle, and what stands before it if that
#: cycle has ended early.
_SAID: dict[str, tuple[str, str]] = {
    'gpaw-out': (r'^Energy contributions relative', r'Did not converge'),
    'castep-castep': (r'^ *Final energy', r'max\. SCF cycles performed but system has not reached'),
    'gaussian-out': (r'SCF Done:', r'Convergence criterion not met'),
    'nwchem-out': (r'Total (?:DFT|SCF) energy', r'(?:Calculation|SCF) failed to converge'),
    'orca-output': (r'FINAL SINGLE POINT ENERGY', r'SCF NOT CONVERGED|(?<!fully )NOT CONVERGED AFTER'),
    'aims-output': (r'Total energy corrected', r'(?i)self-consistency cycle (?:did not|not) converge'),
    'espresso-out': (r'^!+ *total energy', r'convergence NOT achieved'),
}
#: Largest accuracy of the energy in eV per atom that pw.x may estimate for a label. The error of forces goes with its
#: root.
MAX_INACCURACY = 1e-4
_RYDBERG = 13.605693
_ADVICE = 'converge it, or merge with `allow_unconverged=True`'


def unconverged(text: str, file_format: str, sizes: list[int]) -> dict[int, str]:
    """Return why the labels of some structures cannot be trusted, by their position.

    :param text: the file.
    :param sizes: number of atoms of each structure that was read from it.
    """
    if file_format == 'vasp-xml':
        found = _of_vasprun(text)
    elif file_format == 'vasp-out':
        found = _of_outcar(text)
    elif file_format in _SAID:
        found = _said(text, *_SAID[file_format])
    else:
        return {}
    if file_format == 'espresso-out':
        found += _inaccurate(text, sizes)
    reasons = {index: reason for index, reason, total in reversed(found) if total == len(sizes)}
    unplaced = [reason for _, reason, total in found if total != len(sizes)]
    if unplaced:
        # Which of the structures these are cannot be told.
        why = f'{unplaced[0]} (which structure this is cannot be told)'
        reasons = {index: reasons.get(index, why) for index in range(len(sizes))}
    return {index: f'{reason}: {_ADVICE}' for index, reason in sorted(reasons.items())}


Found = list[tuple[int, str, int]]


def _of_vasprun(text: str) -> Found:
    """Compare the electronic steps of each calculation with their largest number."""
    most = re.search(r'name="NELM">\s*(\d+)', text)
    if most is None:
        return []
    parts = text.split('<calculation>')[1:]
    found = []
    for index, part in enumerate(parts):
        body = part.partition('</calculation>')[0]
        steps = body.count('<scstep>')
        if steps >= int(most[1]):
            reason = f'VASP did not converge: all {steps} electronic steps that NELM allows were made'
            found.append((index, reason, len(parts)))
    return found


def _of_outcar(text: str) -> Found:
    """Look in the electronic steps of each structure for what VASP says when they have converged."""
    parts = text.split('FREE ENERGIE OF THE ION-ELECTRON SYSTEM')[:-1]
    reason = 'VASP did not converge: its electronic steps ended before "EDIFF is reached"'
    return [
        (index, reason, len(parts))
        for index, part in enumerate(parts)
        if 'EDIFF was not reached' in part
        or (re.search(r'- Iteration +\d+\( *\d+\)', part) and 'EDIFF is reached' not in part)
    ]


def _said(text: str, end: str, bad: str) -> Found:
    """Look for what a program says when it did not converge, before the energy of each structure."""
    parts = re.split(end, text, flags=re.MULTILINE)
    found = []
    for index, part in enumerate(parts):
        match = re.search(bad, part)
        if match is not None:
            last = len(parts) > 1 and index == len(parts) - 1
            total = -1 if last else len(parts) - 1
            found.append((index, f'the output says "{match[0][:80]}"', total))
    # Behind the last energy there is no structure: what was not converged there has none.
    return [entry for entry in found if entry[2] != -1]


def _inaccurate(text: str, sizes: list[int]) -> Found:
    """Return the structures whose energy pw.x itself says to be less accurate than a label has to be."""
    parts = re.split(r'^!+ *total energy', text, flags=re.MULTILINE)[1:]
    found = []
    for index, part in enumerate(parts):
        match = re.search(r'estimated scf accuracy\s+<\s+(\S+) Ry', part[:1000])
        if match is None or not sizes:
            continue
        try:
            accuracy = float(match[1]) * _RYDBERG / sizes[min(index, len(sizes) - 1)]
        except (ValueError, ZeroDivisionError):
            continue
        if accuracy > MAX_INACCURACY:
            found.append((index, f'pw.x estimates the accuracy of its energy as {accuracy:.3g} eV/atom', len(parts)))
    return found
