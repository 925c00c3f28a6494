"""The examples of README, docs and the card: Python runs, and so do commands; those that need more are parsed.

Fenced blocks say what they are: `python`, `sh`, or `text` for what is neither.
"""

import importlib.util
import json
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path
from string import Template
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from insta_colorization.checkpoints import load_checkpoint, save_checkpoint
from insta_colorization.models import InstColorizer

ROOT = Path(__file__).resolve().parents[2]
CARD = 'projects/insta_colorization/weights/README.md'
DOCS = [path for path in sorted((ROOT / 'docs').rglob('*.md')) if not {'api', '_build'} & set(path.parts)]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / CARD, *DOCS]
LANGUAGES = {'python', 'sh', 'text', 'bibtex', 'yaml', '{toctree}'}
FENCE = re.compile(r'^( *)```(.*)\n((?:.*\n)*?)\1```$', re.MULTILINE)

# What a command has in it -> why it is parsed, but not run.
ONLY_PARSED = {
    'mmdet': 'weights of mmdet',
    'mask-rcnn_r50': 'weights of mmdet',
    'my_config.py': 'weights of mmdet',
    'colorize_archive.py': 'starts Ray; test_archives.py',
    **dict.fromkeys(['detect_archive.py', 'evaluate_archive.py'], 'starts Ray; test_archive_tasks.py'),
    'simulate_archive.py': 'what a run of Ray measured; test_simulate_archive.py',
    'tools/serve.py': 'serves until it is stopped; test_studio.py',
    'edits.json': 'what the studio saves; test_edits.py',
    'c2pa': 'a certificate; test_marking.py and test_verify_marks.py',
    'authority.pem': 'a certificate; test_verify_marks.py',
    'yolox_nano.onnx': 'a detector that is not part of the project',
    'data/imagenet': 'ImageNet',
    'data/places205': 'Places205',
    'tools/train.py': 'minutes to weeks; test_training.py trains',
    'semantic_maps.py': "COCO's panoptic annotations; test_semantic_maps.py",
    'tools/test.py': 'photos with true boxes, and minutes; test_measuring.py measures',
    'time_edits.py': 'a minute; test_time_edits.py',
    'benchmark.py': 'minutes; test_benchmark.py runs it',
    'publish_weights.py': 'a trained checkpoint',
    'CHECKPOINT': 'a trained checkpoint',
    'ab_prior.py': 'photos that another command made; test_ab_prior.py',
    'report.py': 'half a minute; test_report.py',
    '...': 'a pattern of a command',
}
# The first word of other commands -> why they are not run.
NOT_RUN = {
    'exiftool': 'is not everywhere; test_marks.py',
    **dict.fromkeys(['openssl', 'cat'], 'makes a certificate; signing.py makes those of tests'),
    'docker': 'is not everywhere; test_packaging.py looks at the file',
    'make': 'builds the environment, and runs these tests',
    '.venv/bin/python': 'installs a package',
    'pip': 'installs packages',
    **dict.fromkeys(['ray', 'kubectl', 'export'], 'needs a cluster'),
    '/usr/bin/time': 'measures this machine',
    'pytest': 'is a test',
    'tools/dist_detect.sh': 'starts processes; test_distributed_training.py',
    'tools/dist_test.sh': 'starts processes; test_distributed_training.py',
    'tools/dist_train.sh': 'starts processes; test_distributed_training.py',
    'tools/slurm_test.sh': 'needs Slurm',
    'tools/slurm_train.sh': 'needs Slurm',
    **dict.fromkeys(['mkdir', 'for', 'curl', 'done', 'cd', 'tar', 'sed'], 'fetches a dataset'),
}
# What Python code has in it -> why it is not run.
CODE_NOT_RUN = {'./_base_/models/mine.py': 'files of a method that is not there'}

pytestmark = pytest.mark.slow


class Block(NamedTuple):
    """A fenced block: where it begins, what it says it is, and its text."""

    place: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    content = page.read_text()
    lines = {match: content.count('\n', 0, match.start()) + 1 for match in FENCE.finditer(content)}
    return [Block(f'{page.relative_to(ROOT)}:{line}', match[2].strip(), match[3]) for match, line in lines.items()]


def pages_with(language: str) -> list:
    pages = [page for page in PAGES if any(block.language == language for block in blocks(page))]
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def commands(page: Path) -> list[list[str]]:
    """The words of each command, with the page's own variables filled in and settings of the environment left out."""
    variables: dict[str, str] = {}
    found = []
    for line in (
        ''.join(block.text for block in blocks(page) if block.language == 'sh').replace('\\\n', ' ').splitlines()
    ):
        words = shlex.split(Template(line).safe_substitute(variables), comments=True)
        while words and re.match(r'[A-Z_]+=', words[0]):
            name, _, value = words.pop(0).partition('=')
            variables[name] = value
        if words:
            found.append(words)
    return found


def reason(text: str, known: dict[str, str]) -> str | None:
    return next((why for part, why in known.items() if part in text), None)


@cache
def tool(script: str) -> ModuleType:
    path = ROOT / script
    spec = importlib.util.spec_from_file_location(f'example_{path.stem}', path)
    assert spec is not None, script
    assert spec.loader is not None, script
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a tool's own processes look for its functions
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.fixture(scope='module')
def folder(tmp_path_factory, fused_weights) -> Path:
    """What the examples name: tiny photos, boxes, and weights in the published form."""
    folder = tmp_path_factory.mktemp('examples')
    for name in ('demo', 'tools', 'requirements'):
        (folder / name).symlink_to(ROOT / name)
    # Copies, because examples write into these.
    weights = 'projects/insta_colorization/weights'
    for name, left_out in (('configs', '__pycache__'), (weights, '*.md')):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns(left_out))
    with Image.open(ROOT / 'demo' / 'astronaut.jpg') as photo:
        grey = photo.convert('L').resize((400, 420))
    colour = Image.merge('RGB', [grey, grey.point(lambda value: value * 3 // 4), grey.point(lambda value: value // 2)])
    names = [
        'my.jpg',
        'photo.jpg',
        'a.jpg',
        'b.jpg',
        'album/1.jpg',
        'album/2.png',
        'scans/1.tif',
        'photos/1.jpg',
        'frames/1.jpg',
    ]
    for name in [
        *names,
        *(f'{data}/{number}.jpg' for data in ('data/mine', 'PHOTOS', 'data/coco/val2017') for number in (1, 2)),
    ]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        colour.save(folder / name)
    np.savez(folder / 'photo.npz', bbox=[[100, 0, 300, 400]], scores=[0.9])
    (folder / 'instances.json').write_text(
        '{"images": [{"id": 1, "file_name": "1.jpg", "width": 400, "height": 420}],'
        ' "annotations": [{"image_id": 1, "bbox": [100, 0, 200, 400], "category_id": 1, "score": 0.9}],'
        ' "categories": [{"id": 1, "name": "person"}]}'
    )
    published = folder / 'checkpoints' / 'coco_finetuned_mask_256_ffs'
    save_checkpoint(load_checkpoint(fused_weights).state_dict, published, layout='instacolorization')
    (folder / published.name).symlink_to(published)
    for path in published.iterdir():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_name_their_language(page):
    unknown = {block.place: block.language for block in blocks(page) if block.language not in LANGUAGES}

    assert not unknown, f'{unknown}: a fenced block is one of {sorted(LANGUAGES)}'
    assert page.read_text().count('\n```') % 2 == 0


@pytest.mark.parametrize('page', pages_with('python'))
def test_python(page, folder, monkeypatch):
    """Later blocks of a page know the names of earlier ones."""
    monkeypatch.chdir(folder)
    trunk = {'type': 'ColorizationBackbone', 'width': 1 / 16}
    photo = np.asarray(Image.open('a.jpg'))
    names = {
        '__name__': 'example',
        'array': photo,
        'photos': [photo],
        'paths': ['a.jpg'],
        'train_pipeline': [],
        'model': InstColorizer(trunk, trunk, {'type': 'FusionNetwork', 'width': 1 / 16}),
    }
    for block in blocks(page):
        if block.language != 'python' or reason(block.text, CODE_NOT_RUN):
            continue
        if '_base_ =' in block.text:
            recipe = folder / 'configs' / 'insta' / 'example.py'
            recipe.write_text(block.text)
            assert Config.fromfile(recipe).model.type
        else:
            exec(compile(block.text, block.place, 'exec'), names)


@pytest.mark.parametrize('page', pages_with('sh'))
def test_commands(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for words in commands(page):
        line = shlex.join(words)
        missing = [word for word in words if word.startswith(('configs/', 'tools/')) and not Path(word).exists()]
        assert not missing, f'{line}: there is no {missing}'
        if words[0] != 'python' or words[1] == '-m':
            assert words[0] in NOT_RUN or words[1:3] == ['-m', 'pytest'], f'{line} is neither run nor listed'
            continue
        main = tool(words[1]).main
        if words[-1] == '--help':
            continue
        main.parse(words[2:])
        if reason(line, ONLY_PARSED) is None:
            assert main(words[2:]) == 0, line


def test_make_targets_exist():
    makefile = (ROOT / 'Makefile').read_text()
    named = {words[1] for page in PAGES for words in commands(page) if words[0] == 'make'}

    assert named
    assert all(re.search(rf'^{target}:', makefile, re.MULTILINE) for target in named), named


@pytest.mark.parametrize(
    ('name', 'elsewhere'),
    [
        ('CONTRIBUTING.md', set()),
        ('docs/architecture.md', set()),
        ('docs/add_a_colorizer.md', set()),
        ('docs/fidelity.md', {'inference_bbox.py'}),
    ],
)
def test_what_pages_about_the_code_name_is_there(name, elsewhere):
    """Files, tests and names in capitals, in `code`; `elsewhere` is the published code's."""
    words = set(re.findall(r'`([\w/.]+)', FENCE.sub('', (ROOT / name).read_text())))
    sources = [path for folder in ('projects', 'tests', 'tools') for path in (ROOT / folder).rglob('*.py')]
    known = {word for path in sources for word in re.findall(r'\w+', path.read_text())}
    paths = {word for word in words if word.endswith('.py') or '/' in word}
    names = {word for word in words - paths if re.fullmatch(r'test_\w+|([A-Z][a-z]+){2,}', word)}

    there = [f'/{path.relative_to(ROOT).as_posix()}' for path in [*sources, ROOT / 'setup.py']]
    files = {path for path in paths if path.endswith('.py')}
    absent = {file for file in files if not any(path.endswith(f'/{file}') for path in there)}
    assert absent == elsewhere
    folders = (ROOT, ROOT / 'projects' / 'insta_colorization')
    rooms = {path for path in paths - files if path.endswith('/') and not path.startswith('.')}
    assert all(any((folder / room).exists() for folder in folders) for room in rooms), rooms
    assert names <= known, names - known


def test_every_colorizer_has_its_page():
    folders = {path.parent.name for path in (ROOT / 'projects/insta_colorization/models').glob('*/__init__.py')}

    assert folders - {'backbones'} == {page.stem for page in (ROOT / 'docs' / 'colorizers').glob('*.md')}


def metrics_of(name: str) -> list[dict]:
    """Of a result: at the level of photos, and of instances."""
    metrics = json.loads((ROOT / 'docs' / 'results' / name).read_text())['metrics']
    return [metrics['image'], metrics['instance']]


def test_readme_has_the_figures_of_the_results():
    readme = (ROOT / 'README.md').read_text()
    rows = re.findall(r'^\| \[.*\]\(docs/results/(\w+\.json)\) \| (.*) \|$', readme, re.MULTILINE)

    assert len(rows) == 5
    for name, cells in rows:
        figures = [number for level in metrics_of(name) for number in (level['PSNR'], level['CF'] / level['CF_truth'])]
        assert cells.split(' | ') == [f'{figure:.2f}' for figure in figures], name


@pytest.mark.parametrize(
    'path',
    sorted(p for p in (ROOT / 'docs' / 'results').iterdir() if p.suffix in ('.json', '.md')),
    ids=lambda p: p.name,
)
def test_results_name_no_folder_of_a_machine(path):
    assert re.findall(r'(?<![\w.~:/-])/(?:root|home|tmp|mnt|work|Users)\b[^"]*', path.read_text()) == []


@pytest.mark.parametrize('path', sorted((ROOT / 'docs' / 'results').glob('*.json')), ids=lambda path: path.stem)
def test_the_report_is_of_these_results(path):
    report = (ROOT / 'docs' / 'results' / 'report.md').read_text()
    photos, instances = metrics_of(path.name)
    row = next(line for line in report.splitlines() if re.match(rf'\| {path.stem} +\|', line))

    assert all(f'{figure:.3f}' in row for figure in (photos['PSNR'], photos['CF'], instances['PSNR'], instances['CF']))
