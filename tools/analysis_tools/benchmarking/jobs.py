"""What is measured in a process of its own, so that nothing else's memory is in the way.

python -m benchmarking.jobs < JOB.json > RESULT.json
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from insta_colorization.apis.jobs import plan
from insta_colorization.imaging.photo import read_photo, write_photo
from insta_colorization.utils.memory import keep_between_photos

from .memory import Watch, peak_memory
from .subject import BASELINE, Case, Setup, Subject, timed

# A folder's memory is compared between its first photos and the rest.
FIRST = 100


def run_job(name: str, setup: Setup, **settings: Any) -> Any:
    """Does one of `JOBS` in a fresh process.

    Returns:
        What the job returns; None if its process was killed, which is what the system does when memory runs out.

    Raises:
        ValueError: it failed; its last words are in the message.
    """
    job = json.dumps({'name': name, 'setup': asdict(setup), 'settings': settings})
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get('PYTHONPATH', '')]))
    command = [sys.executable, '-m', 'benchmarking.jobs']
    done = subprocess.run(command, input=job, capture_output=True, text=True, env={**os.environ, 'PYTHONPATH': path})
    if done.returncode == -signal.SIGKILL:
        return None
    if done.returncode:
        words = (done.stderr.strip() or f'status {done.returncode}').splitlines()[-1]
        raise ValueError(f'the measurement {name} with {settings} ended with {words}')
    return json.loads(done.stdout.splitlines()[-1])


def memory_of_case(setup: Setup, case: Mapping[str, Any]) -> float:
    """Peak MB of the networks in one `Case`, above libraries and weights."""
    wanted = Case(**case)
    subject = Subject(setup, baseline=wanted.implementation == BASELINE)
    subject.inputs(wanted)
    return peak_memory(lambda: subject.run(wanted), subject.device)


def large_photo(setup: Setup, precision: str) -> dict[str, float]:
    """Colours the setup's photo with all its boxes, from file to file.

    Returns:
        `peak_mb` of the process above libraries and weights, `seconds`.
    """
    with TemporaryDirectory() as folder:
        inferencer = setup.on_boxes(Path(folder), precision=precision)
        warm_libraries(Path(folder))
        seconds = []
        peak = peak_memory(
            lambda: seconds.append(timed(lambda: inferencer(setup.photo, out_dir=Path(folder) / 'out'))[1])
        )
    return {'peak_mb': peak, 'seconds': seconds[0]}


def whole_folder(setup: Setup, folder: str, out_dir: str, batch_size: int, precision: str) -> dict[str, Any]:
    """Colours all photos of a folder, sub-folders included, as a user would.

    Returns:
        `photos` done, `failed`, `seconds`, `photos_per_second`, `networks`; of the process in MB: `rss_first` and
        `rss_last` after the first `first` photos and after the last, `peak_first` and `peak_rest` until and from then.
    """
    inferencer = setup.inferencer(precision=precision)
    total = len(plan([folder], out_dir, recursive=True))
    first = min(FIRST, max(1, total // 2))
    warm_libraries(Path(out_dir).parent)
    watch = Watch(lambda: sum(1 for path in Path(out_dir).rglob('*.png') if not path.name.startswith('.')))

    def color() -> list[dict]:
        return inferencer(
            folder, out_dir=out_dir, recursive=True, batch_size=batch_size, overwrite=True, on_error='collect'
        )['predictions']

    with watch:
        records, seconds = timed(color)
    failed = sum(record['status'] == 'failed' for record in records)
    return {
        'photos': len(records) - failed,
        'failed': failed,
        'first': first,
        'seconds': seconds,
        'photos_per_second': (len(records) - failed) / seconds,
        'networks': list(inferencer.model.networks),
        'batch_size': batch_size,
        'precision': str(inferencer.dtype).removeprefix('torch.'),
        **watch.split(first),
    }


def warm_libraries(folder: Path) -> None:
    """Reads and writes a small photo: libraries that are imported at first use are no part of a photo's memory."""
    path = folder / 'warm.png'
    write_photo(np.zeros((8, 8, 3), np.uint8), path)
    read_photo(path)
    path.unlink()


JOBS: dict[str, Callable[..., Any]] = {
    'memory_of_case': memory_of_case,
    'large_photo': large_photo,
    'whole_folder': whole_folder,
}


def main() -> None:
    """Reads a job from standard input and prints its result as the last line."""
    job = json.load(sys.stdin)
    print(json.dumps(JOBS[job['name']](Setup(**job['setup']), **job['settings'])))


if __name__ == '__main__':
    keep_between_photos()
    main()
