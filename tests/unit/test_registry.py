import importlib
import subprocess
import sys

import alone
import mmagic.registry as mmagic
import mmengine.registry as mmengine
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope, Registry
from mmengine.utils import import_modules_from_strings

import insta_colorization.registry as ours
from insta_colorization.models import HuberLoss, InstColorizer
from insta_colorization.registry import SCOPE, build_model

SMALL = {'type': 'ColorizationBackbone', 'width': 1 / 16}
COLORIZER = {
    'type': 'InstColorizer',
    'image_net': SMALL,
    'instance_net': SMALL,
    'fusion_net': {'type': 'FusionNetwork', 'width': 1 / 16},
}
# For a process of its own, because the registries remember what was imported.
UNDER_MMAGICS_SCOPE = """
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmagic.registry import MODELS

cfg = Config.fromfile({config!r})  # imports what custom_imports names
DefaultScope.get_instance('test', scope_name=cfg.default_scope)
model = MODELS.build(cfg.model)
print(type(model).__module__, type(model).__name__, type(model.decoder).__name__)
"""


@pytest.fixture(params=[SCOPE, 'mmagic', 'mmengine', None], ids=str)
def scope(request):
    with DefaultScope.overwrite_default_scope(request.param):
        yield request.param


def test_the_scope_is_the_packages_name():
    assert importlib.import_module(f'{SCOPE}.registry') is ours
    assert {registry.scope for registry in vars(ours).values() if isinstance(registry, Registry)} >= {SCOPE}


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    'fault',
    [
        pytest.param("sys.modules['mmagic'] = None", id='no-mmagic'),
        pytest.param("import mmcv; mmcv.__version__ = '2.3.6'", id='an-mmcv-that-mmagic-refuses'),
    ],
)
def test_without_mmagic_the_registries_are_children_of_mmengines(fault):
    code = (
        f'import sys; {fault}\nfrom insta_colorization.registry import METRICS, MODELS, build_model\n'
        "model = build_model({'type': 'ColorizationBackbone', 'width': 1 / 16})\n"
        "print(type(model).__name__, MODELS.parent.scope, METRICS.get('PSNR').__module__)"
    )

    done = alone.run(code)

    assert done.stdout.split() == ['ColorizationBackbone', 'mmengine', 'insta_colorization.evaluation.metrics.psnr']


@pytest.mark.slow
@pytest.mark.parametrize(
    ('package', 'module', 'needs'),
    [
        ('mmengine', 'registry', 'insta_colorization needs MMEngine ('),
        ('mmcv', 'datasets', 'datasets and transforms need mmcv ('),
    ],
)
def test_a_package_that_lacks_is_named_with_its_install_command(package, module, needs):
    done = run(f"import sys; sys.modules['{package}'] = None; import insta_colorization.{module}")

    last = done.stderr.splitlines()[-1]
    assert last.startswith(f'ImportError: {needs}')
    assert 'pip install' in last


@pytest.mark.parametrize(
    ('registry', 'names'),
    [
        ('MODELS', ('InstColorizer', 'ImageColorizer', 'ColorizationBackbone', 'InstanceFusion', 'HuberLoss')),
        ('MODELS', ('MMDetDetector', 'OnnxDetector', 'CachedDetector', 'OpenCVDetector')),
        ('DATASETS', ('ColorizationDataset',)),
        ('TRANSFORMS', ('LoadPhoto', 'PackColorization')),
        ('METRICS', ('PSNR', 'Colorfulness')),
        ('HOOKS', ('RecalibratedEMAHook', 'InvalidLossHook', 'WholeCheckpointHook')),
        ('LOOPS', ('ResumableIterLoop',)),
        ('DATA_SAMPLERS', ('PhotoSampler',)),
        ('OPTIM_WRAPPERS', ('BFloat16OptimWrapper',)),
    ],
)
def test_our_types_are_found_under_our_scope(registry, names):
    with DefaultScope.overwrite_default_scope(SCOPE):
        for name in names:
            assert getattr(ours, registry).get(name).__module__.startswith(f'{SCOPE}.')


def test_a_colorizer_builds_under_our_scope():
    with DefaultScope.overwrite_default_scope(SCOPE):
        model = ours.MODELS.build(COLORIZER)

    assert isinstance(model, InstColorizer)


def test_build_model_does_not_depend_on_the_scope(scope):
    model = build_model(COLORIZER)

    assert isinstance(model, InstColorizer)
    assert isinstance(model.losses['ab'], HuberLoss)


@pytest.mark.parametrize(
    ('registry', 'name'),
    [
        pytest.param(mmagic.MODELS, 'insta_colorization.InstColorizer', id='mmagic', marks=pytest.mark.slow),
        # MMEngine's registries look one level down only, and there MMagic's are.
        pytest.param(mmengine.MODELS, 'mmagic.insta_colorization.InstColorizer', id='mmengine'),
        pytest.param(mmengine.MODELS, 'insta_colorization.models.InstColorizer', id='mmengine-by-module'),
    ],
)
@pytest.mark.slow
def test_a_colorizer_builds_by_its_full_name_from_elsewhere(registry, name):
    import_modules_from_strings(['insta_colorization.models'])

    with DefaultScope.overwrite_default_scope(registry.scope):
        model = registry.build({**COLORIZER, 'type': name})

    assert type(model) is InstColorizer


@pytest.mark.slow
def test_an_mmagic_config_with_custom_imports(tmp_path):
    config = tmp_path / 'config.py'
    model = {**COLORIZER, 'type': f'{SCOPE}.InstColorizer', 'decoder': {'type': 'AnnealedMeanDecoder'}}
    Config(
        {
            'default_scope': 'mmagic',
            'custom_imports': {'imports': ['insta_colorization.models'], 'allow_failed_imports': False},
            'model': model,
        }
    ).dump(str(config))

    done = alone.run(UNDER_MMAGICS_SCOPE.format(config=str(config)))

    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-3:] == [
        'insta_colorization.models.insta.colorizers',
        'InstColorizer',
        'AnnealedMeanDecoder',
    ]


def test_mmengines_types_are_found_from_our_scope():
    with DefaultScope.overwrite_default_scope(SCOPE):
        assert ours.OPTIMIZERS.get('Adam') is torch.optim.Adam
        assert ours.HOOKS.get('EMAHook').__module__ == 'mmengine.hooks.ema_hook'
        assert ours.PARAM_SCHEDULERS.get('LinearLR').__module__.startswith('mmengine.')
        assert ours.DATA_SAMPLERS.get('InfiniteSampler').__module__.startswith('mmengine.')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('registry', 'cfg'),
    [
        pytest.param('MODELS', {'type': 'mmagic.L1Loss', 'loss_weight': 2.0}, id='loss'),
        pytest.param('METRICS', {'type': 'mmagic.PSNR'}, id='metric'),
    ],
)
def test_an_mmagic_type_builds_from_our_scope(registry, cfg):
    pytest.importorskip('mmagic.models', reason='MMagic is installed without what its models need', exc_type=Exception)

    with DefaultScope.overwrite_default_scope(SCOPE):
        built = getattr(ours, registry).build(cfg)

    assert type(built).__module__.startswith('mmagic.')
    if registry == 'MODELS':
        assert built(torch.zeros(2, 3), torch.ones(2, 3)).item() == 2.0


def test_a_name_that_mmagic_has_too_is_ours():
    with DefaultScope.overwrite_default_scope(SCOPE):
        assert ours.METRICS.get('PSNR').__module__ == 'insta_colorization.evaluation.metrics.psnr'


def test_every_registry_that_a_runner_asks_has_a_child_of_ours():
    # Where there is none, MMEngine says 'Failed to search registry with scope "insta_colorization"' at every build.
    runners = (
        'RUNNERS LOOPS HOOKS DATASETS DATA_SAMPLERS TRANSFORMS MODELS MODEL_WRAPPERS WEIGHT_INITIALIZERS OPTIMIZERS '
        'OPTIM_WRAPPERS OPTIM_WRAPPER_CONSTRUCTORS PARAM_SCHEDULERS METRICS EVALUATOR VISUALIZERS VISBACKENDS '
        'LOG_PROCESSORS FUNCTIONS'
    )
    for name in runners.split():
        root = getattr(mmengine, name)
        with DefaultScope.overwrite_default_scope(SCOPE), root.switch_scope_and_registry(SCOPE) as registry:
            assert registry.scope == SCOPE, name


@pytest.mark.parametrize(
    'registry',
    [value for value in vars(ours).values() if isinstance(value, Registry) and value.scope == SCOPE],
    ids=lambda registry: registry.name,
)
def test_every_registry_knows_where_its_types_are(registry):
    registry.import_from_location()


def test_an_unknown_type_is_refused():
    with pytest.raises(KeyError, match='InstColouriser'):
        build_model({'type': 'InstColouriser'})
