"""What each recorded run, and each of the few that cannot be recorded, has to be taken for by the parsers."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiida_pacemaker.frames.hashing import frame_hashes, hex_hashes
from aiida_pacemaker.frames.pickles.writing import split_by_frame, write_table
from aiida_pacemaker.frames.table import Frames

FIXTURES = Path(__file__).parents[1] / 'fixtures'
#: The recorded runs have names of files that a job gives otherwise.
RENAMED = {
    'activeset': {
        'output_potential.asi': 'potential.asi',
        'output_potential.asi.nonlinear': 'potential.asi.nonlinear',
    }
}
#: Case: label of the exit code, and what the message must name.
TRAIN = {
    'bad_option': ('ERROR_TRACEBACK_UNKNOWN', 'Unknown radial basis function name: Nonsense'),
    'continued': ('OK', ''),
    'damaged_dataset': ('ERROR_DATASET_DAMAGED', 'Transfer the dataset again'),
    'damaged_potential': ('ERROR_POTENTIAL_UNREADABLE', 'line 105'),
    'default': ('OK', ''),
    'disk_full': ('ERROR_DISK_FULL', 'Free space'),
    'early_stopping': ('OK', ''),
    'empty_dataset': ('ERROR_DATASET_EMPTY', 'no structures'),
    'empty_dataset_named': ('ERROR_DATASET_EMPTY', 'no structures'),
    'energy_range': ('ERROR_COLUMN_MISSING', 'energy'),
    # The engine was given no reference energies and took others than those of the job.
    'energy_range_kept': ('ERROR_POTENTIAL_INVALID', 'the reference energies are not those of the fit'),
    'energy_range_recomputed': ('ERROR_POTENTIAL_INVALID', 'the reference energies are not those of the fit'),
    'fit_cycles': ('OK', ''),
    'frames_dropped': ('ERROR_FRAMES_DROPPED', '13 frames were given but the engine fitted 12'),
    'illegal_yaml': ('ERROR_INPUT_ILLEGAL', 'line 2, column 12'),
    'infinite_energy': ('ERROR_FIT_DIVERGED', '`loss` is inf at iteration 0'),
    'infinite_energy_lbfgs': ('ERROR_FIT_DIVERGED', '`loss` is inf at iteration 0'),
    'killed_cycle': ('ERROR_FIT_INTERRUPTED', 'after 6 iterations'),
    'killed_early': ('ERROR_FIT_INTERRUPTED', 'after 0 iterations'),
    'killed_interim': ('ERROR_FIT_INTERRUPTED', 'after 4 iterations'),
    'killed_node': ('ERROR_FIT_INTERRUPTED', 'after 3 iterations'),
    'ladder': ('OK', ''),
    'ladder_continued': ('OK', ''),
    'ladder_killed': ('ERROR_FIT_INTERRUPTED', 'interim_potential'),
    # The ladder began again from nothing, which nothing in its output tells; such inputs are refused before.
    'ladder_restart': ('OK', ''),
    'ladder_restart_best_cycle': ('ERROR_LADDER_RESTART', '-ip'),
    'missing_file': ('ERROR_FILE_MISSING', 'train.pckl.gzip'),
    'missing_potential': ('ERROR_FILE_MISSING', 'initial_potential.yaml'),
    'mixed_periodicity': ('ERROR_PERIODICITY_MIXED', 'vacuum'),
    'nan_energy': ('ERROR_LABELS_NOT_FINITE', 'energy_corrected'),
    'nan_forces': ('ERROR_LABELS_NOT_FINITE', 'forces'),
    'no_energy': ('ERROR_COLUMN_MISSING', 'Label the structures'),
    'no_forces': ('ERROR_COLUMN_MISSING', 'forces'),
    'no_potential': ('ERROR_INPUT_INCOMPLETE', 'potential'),
    'no_reference_energy': ('ERROR_COLUMN_MISSING', 'reference_energy'),
    'no_tensorflow': ('ERROR_EVALUATOR_MISSING', 'evaluator: pyace'),
    'noop_fit_cycles': ('ERROR_NOTHING_FITTED', '1 of 1'),
    'not_found': ('ERROR_PROGRAM_NOT_FOUND', 'prepend_text'),
    'not_gzip': ('ERROR_DATASET_DAMAGED', 'Not a gzipped file'),
    'not_installed': ('ERROR_ENGINE_NOT_IMPORTABLE', 'module pyace'),
    'older_versions': ('OK', ''),
    'out_of_memory': ('ERROR_MEMORY_EXHAUSTED', 'more memory'),
    'out_of_memory_early': ('ERROR_MEMORY_EXHAUSTED', 'more memory'),
    'overflow_cycle': ('ERROR_FIT_DIVERGED', 'noise between fit cycles'),
    'overflow_tensorpot': ('ERROR_FIT_DIVERGED', 'extreme energies, forces'),
    'pickle_version': ('ERROR_PICKLE_UNREADABLE', 'pandas'),
    'plateau': ('OK', ''),
    'plateau_cycle': ('OK', ''),
    'plateau_tensorpot': ('OK', ''),
    'predictions': ('OK', ''),
    'repulsion': ('OK', ''),
    'small_distance': ('ERROR_DISTANCE_TOO_SMALL', 'shortest distance'),
    'tensorpot': ('OK', ''),
    'unknown_element': ('ERROR_ELEMENT_UNKNOWN', 'Al'),
    'unknown_element_potential': ('ERROR_ELEMENT_UNKNOWN', 'Al'),
    # The engine fits a frame of an unknown element without a word; such datasets are refused before.
    'unknown_element_tensorpot': ('OK', ''),
    'unrecognized_arguments': ('ERROR_ARGUMENTS_NOT_RECOGNIZED', '--select'),
    'wrong_force_shape': ('ERROR_FORCES_MISSHAPEN', 'label it again'),
}
LINEAR = {
    'core': ('OK', ''),
    'core_in_the_data': ('ERROR_POTENTIAL_NOT_LINEAR', 'Mg-O come as close as 1.997 angstrom'),
    'damaged_dataset': ('ERROR_DATASET_DAMAGED', 'Transfer the dataset again'),
    'damaged_potential': ('ERROR_POTENTIAL_UNREADABLE', 'yaml-cpp'),
    'dead_worker': ('ERROR_MEMORY_EXHAUSTED', 'more memory'),
    'default': ('OK', ''),
    'disk_full': ('ERROR_DISK_FULL', 'Free space'),
    'few_frames': ('OK', ''),
    'killed': ('ERROR_KILLED', 'signal 9'),
    'missing_file': ('ERROR_FILE_MISSING', 'train.pckl.gzip'),
    'mixed_periodicity': ('ERROR_PERIODICITY_MIXED', 'vacuum'),
    'no_neighbours': ('ERROR_FUNCTIONS_ZERO', 'larger cutoff'),
    'not_found': ('ERROR_PROGRAM_NOT_FOUND', 'prepend_text'),
    'not_installed': ('ERROR_ENGINE_NOT_IMPORTABLE', 'module ase'),
    'out_of_memory': ('ERROR_MEMORY_EXHAUSTED', 'more memory'),
    'small_distance': ('ERROR_DISTANCE_TOO_SMALL', 'shortest distance'),
    'two_densities': ('ERROR_POTENTIAL_NOT_LINEAR', 'it has 2 densities'),
    'unknown_element': ('ERROR_ELEMENT_UNKNOWN', 'Al'),
}
ACTIVE_SET = {
    'batch_needs_all_atoms': ('ERROR_BATCHES_NEED_ALL_ATOMS', '--all-atoms'),
    'batches': ('OK', ''),
    'element_absent': ('ERROR_ELEMENT_ABSENT', 'element O'),
    'full': ('OK', ''),
    'insufficient': ('ERROR_ENVIRONMENTS_INSUFFICIENT', '4 atoms of Mg for 12 functions'),
    'linear': ('OK', ''),
    'missing_file': ('ERROR_FILE_MISSING', 'fitting_data_info.pckl.gzip'),
    'missing_potential': ('ERROR_FILE_MISSING', 'output_potential.yaml'),
    'out_of_memory': ('ERROR_MEMORY_EXHAUSTED', 'more memory'),
    'singular': ('ERROR_PROJECTIONS_SINGULAR', 'fewer functions'),
    'unknown_element': ('ERROR_ELEMENT_UNKNOWN', 'Al'),
}
SELECT = {
    'batches': ('OK', ''),
    'default': ('OK', ''),
    'empty_pool': ('ERROR_DATASET_EMPTY', 'no structures'),
    'missing_file': ('ERROR_FILE_MISSING', 'pool.pckl.gzip'),
    'nothing': ('OK', ''),
    'unknown_element': ('ERROR_ELEMENT_UNKNOWN', 'Al'),
    'without_active_set': ('OK', ''),
}
#: The conversion is a part of the training: the exit code of the training that it belongs to.
CONVERSION = {
    'damaged': ('ERROR_CTILDE_MISSING', 'yaml-cpp'),
    'default': ('OK', ''),
    'missing_file': ('ERROR_CTILDE_MISSING', "doesn't exists"),
}
RECORDED = {'train': TRAIN, 'fit_linear': LINEAR, 'activeset': ACTIVE_SET, 'select': SELECT, 'yaml2yace': CONVERSION}

#: Exit codes of the engine's failures that no recorded run ends with, and why.
NOT_RECORDED = {
    'ERROR_NO_REASON_GIVEN': 'there is nothing to record: see test_silence',
    'ERROR_CANDIDATES_INSUFFICIENT': 'as for an active set: see test_too_few_candidates',
    'ERROR_CALCULATOR_NOT_IMPORTABLE': 'no program of the engine: see test_what_calculators_say',
    'ERROR_CALCULATOR_MISSING': 'no program of the engine: see test_what_calculators_say',
    'ERROR_CALCULATOR_FILE_MISSING': 'no program of the engine: see test_what_calculators_say',
    'ERROR_CALCULATOR_ELEMENT_MISSING': 'no program of the engine: see test_what_calculators_say',
    'ERROR_JOB_DIED': 'the script of a job says it by saying nothing: see test_a_job_that_died',
}


def recorded(program: str, case: str) -> dict[str, bytes]:
    """Return the files of a recorded run, by the names that they have in a job."""
    renamed = RENAMED.get(program, {})
    folder = FIXTURES / program / case
    return {renamed.get(path.name, path.name): path.read_bytes() for path in folder.iterdir()}


def predicted(frames: Frames, rows: Sequence[int], names: Sequence[str] | None = None, **columns: Any) -> bytes:
    """Return the table that the engine writes: rows in its own order, each with the name of its frame."""
    chosen = frames.select(rows)
    names = hex_hashes(frame_hashes(chosen)) if names is None else names
    columns = {'energy_pred': chosen.energy, 'forces_pred': split_by_frame(chosen.forces, chosen), **columns}
    content = io.BytesIO()
    write_table(chosen, content, columns, list(names), 1)
    return content.getvalue()
