"""Archives by Ray Data, on one cluster for all tests, and from and to a server of S3."""

import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from PIL import Image

from insta_colorization.apis.archive import FAILURES, SUMMARY, Summary, colorize_archive
from insta_colorization.fileio.stores import Folder
from insta_colorization.utils.options import ArchiveOptions, PaceOptions, ResultOptions

NUM_PHOTOS = 12
PATIENCE = 300
ROOT = Path(__file__).resolve().parents[2]
os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
# Workers would yield to all other work of the machine.
os.environ.setdefault('RAY_worker_niceness', '0')

ray = pytest.importorskip('ray', reason='there is no ray')
pq = pytest.importorskip('pyarrow.parquet', reason='there is no pyarrow')
pytest.importorskip('moto.server', reason='there is no moto with flask')
pytest.importorskip('s3fs', reason='there is no s3fs')

from archive.clusters import node_settings  # noqa: E402 these need what may be missing
from archive.faulty_s3 import FaultyS3, faulty_s3  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def s3() -> Iterator[FaultyS3]:
    """A server of S3, for this process and those that it starts."""
    with faulty_s3() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope='module')
def cluster(s3) -> Iterator[str]:
    """The address of a cluster on this machine, without what tests do not need; workers know the server of S3."""
    node = node_settings(num_cpus=1)
    started = Cluster(initialize_head=True, head_node_args={'include_dashboard': False, **node})
    ray.init(address=started.address, log_to_driver=False, logging_level='ERROR')
    yield started.address
    ray.shutdown()
    started.shutdown()


@pytest.fixture(scope='module')
def photos(tmp_path_factory) -> Path:
    """Small photos, each with a grey of its own and a profile of metadata."""
    folder = tmp_path_factory.mktemp('archive') / 'photos'
    generator = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x010F] = 'Zeiss'
    for number in range(NUM_PHOTOS):
        path = folder / ('sub' if number % 3 else '.') / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 255, (24, 32), np.uint8)
        Image.fromarray(noise).save(path, exif=exif, dpi=(300, 300))
    return folder


@pytest.fixture(scope='module')
def plain(photos, fused_weights, tmp_path_factory) -> Path:
    """What the run of a folder makes of them, two at a time."""
    from insta_colorization.apis import ColorizationInferencer

    out = tmp_path_factory.mktemp('plain')
    inferencer = ColorizationInferencer(weights=fused_weights, detector='none', show_progress=False)
    inferencer(str(photos), out_dir=out, recursive=True, save_json=True, batch_size=2, marks='none')
    return out


def contents(folder: Path) -> dict[str, bytes]:
    """The results; what a kill left on its way to them, in a hidden folder, is swept when it is some seconds old."""
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob('*.png')}
    return {str(name): data for name, data in found.items() if not name.parts[0].startswith('.')}


def failures(target: Folder) -> dict[str, str]:
    table = pq.read_table(io.BytesIO(target.file(FAILURES).read()))
    assert table.column_names == ['photo', 'kind', 'reason']
    return {Path(row['photo']).name: row['kind'] for row in table.to_pylist()}


def wait_for(found, what: str):
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline, f'no {what} in {PATIENCE} s'
        time.sleep(0.02)
    return result


def workers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just ended
            found += [process] if 'MapWorker' in process.name() else []
    return found


def run(source: object, target: object, weights: Path, manifest: str | None = None, **options: object) -> Summary:
    built = {'weights': str(weights), 'detector': 'none'}
    pace = PaceOptions(batch_size=2, workers=0)
    results = ResultOptions(marks='none')  # a mark has the time
    return colorize_archive(source, target, manifest, built, results, pace=pace, options=ArchiveOptions(**options))


def test_a_folder_whose_worker_is_killed_is_complete_and_equal(cluster, photos, plain, fused_weights, tmp_path):
    before = {path: path.read_bytes() for path in photos.rglob('*.jpg')}
    (tmp_path / 'bad.jpg').write_bytes(b'no photo')
    manifest = tmp_path / 'photos.csv'
    names = [str(path.relative_to(photos)) for path in sorted(before, key=lambda path: int(path.stem))]
    lines = [*names, names[0], 'none.jpg', 'sub', str(tmp_path / 'bad.jpg'), 'x.jpg,two']
    # Without objects no colour follows it.
    manifest.write_text('\n'.join(['path,page,caption', *lines, '']).replace('1.jpg\n', '1.jpg,,a red bus\n', 1))
    target = tmp_path / 'out'
    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: contents(target), 'result')
        killed.extend(worker.pid for worker in workers())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = run(photos, target, fused_weights, str(manifest), chunk=4)
    killer.join()

    assert killed
    assert summary.done + summary.skipped == NUM_PHOTOS
    assert summary.failed == {'duplicate': 1, 'missing': 1, 'folder': 1, 'damaged': 1, 'request': 1}
    kinds = {'0.jpg': 'duplicate', 'none.jpg': 'missing', 'sub': 'folder', 'bad.jpg': 'damaged', 'x.jpg': 'request'}
    assert failures(Folder.at(target)) == kinds
    assert json.loads((target / SUMMARY).read_bytes())['photos'] == NUM_PHOTOS + 5
    assert contents(target).keys() == contents(plain).keys()
    for name in contents(plain):
        with Image.open(plain / name) as one, Image.open(target / name) as other:
            assert one.getexif() == other.getexif()
            assert one.info['dpi'] == other.info['dpi']
            # Photos that another worker did alone were in a batch before.
            assert np.abs(np.asarray(one, int) - np.asarray(other, int)).max() <= 1
        assert json.loads((target / f'{name}.json').read_bytes())['output'] == str(target / name)
    asked = [path.name for path in target.rglob('*.png.json') if 'caption' in json.loads(path.read_bytes())]
    assert asked == ['1.png.json']
    assert len(list(target.glob('.*'))) <= len(killed)
    assert {path: path.read_bytes() for path in photos.rglob('*.jpg')} == before


def test_a_bucket_that_is_not_there_ends_the_run_before_the_first_photo(cluster, photos, fused_weights):
    with pytest.raises(OSError, match=r'cannot write s3://nowhere/failures\.parquet: there is no such place'):
        run(photos, 's3://nowhere', fused_weights)


def test_a_setting_that_no_worker_can_use_is_one_sentence(cluster, photos, fused_weights, tmp_path):
    with pytest.raises(ValueError, match='a worker needs 2 GPU, but the cluster has 1 CPU and 0 GPU'):
        run(photos, tmp_path / 'out', fused_weights, gpus=2)


def test_ray_takes_the_clusters_that_the_docs_describe():
    """By the checks of its cluster launcher and of its autoscaler in Kubernetes."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
    from ray.autoscaler._private.util import prepare_config, validate_config

    text = (ROOT / 'docs' / 'archives.md').read_text()
    cluster, job = (yaml.safe_load(block) for block in re.findall(r'```yaml\n(.*?)```', text, flags=re.DOTALL))

    validate_config(prepare_config(cluster))
    derived = _derive_autoscaling_config_from_ray_cr(
        {'metadata': {**job['metadata'], 'namespace': 'default'}, 'spec': job['spec']['rayClusterSpec']}
    )

    gpus = {name: node['resources'].get('GPU', 0) for name, node in derived['available_node_types'].items()}
    assert gpus == {'headgroup': 0, 'gpu': 1}
