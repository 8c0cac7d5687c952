"""The training loop driven by the stage table."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce_dict
from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import EpochBasedTrainLoop, Runner, TestLoop, ValLoop
from torch import Tensor, nn

from nextvid_mm.datasets.request import derive_seed
from nextvid_mm.engine.allocator import keep_freed_memory
from nextvid_mm.engine.checkpoints import compare_data, compare_tables, describe_data
from nextvid_mm.engine.clock import Clock
from nextvid_mm.engine.hooks.stage import EMAHook, StageHook
from nextvid_mm.engine.processes import (
    GuardedLoader,
    WaitStopped,
    bounded_wait,
    init_worker,
    stop_workers,
    worker_deaths_explained,
)
from nextvid_mm.engine.stages import Stage, StageBatch, StageTable
from nextvid_mm.registry import DATA_SAMPLERS, LOOPS, unwrap


@LOOPS.register_module(name='ValLoop')
class GuardedValLoop(ValLoop):
    """MMEngine's ``ValLoop``, whose loader neither hangs nor leaves a process behind."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader: Any = GuardedLoader(self.dataloader)

    def run(self) -> dict[str, Any]:
        """Validate.

        Raises:
            WaitStopped: If the run has been signalled; the model has its own weights then.
        """
        try:
            return super().run()
        except WaitStopped:
            # It comes between batches: averages have taken the model's place, and would go back
            # only in `after_val_epoch`. What is saved now has to find them where they belong.
            # After any other exception nothing is saved.
            for hook in self.runner.hooks:
                if isinstance(hook, MMEngineEMAHook):
                    hook._swap_ema_parameters()
            raise


@LOOPS.register_module(name='TestLoop')
class GuardedTestLoop(TestLoop):
    """MMEngine's ``TestLoop``, guarded likewise."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dataloader: Any = GuardedLoader(self.dataloader)


@LOOPS.register_module()
class StageTrainLoop(EpochBasedTrainLoop):
    """Trains through a stage table; one iteration of the Runner is one optimiser step.

    There are no epochs: MMEngine's hooks see the run as one long epoch.

    In a config: ``train_cfg = dict(type='StageTrainLoop', stages=[dict(name=..., steps=..., ...),
    ...])``. The table drives everything else: the number of iterations, the batch sampler of
    ``train_dataloader`` (one loader lives through all stages), gradient accumulation and
    ``StageParamScheduler``.

    Everything random in a micro-batch follows from (seed, step, micro-batch, rank), and the sampler
    starts at the runner's iteration. A resumed run therefore continues (on CPUs bit for bit, on
    GPUs as far as ``randomness.deterministic`` fixes the order of sums) without stored random
    states and without decoding a past clip again.

    Args:
        runner: The MMEngine Runner.
        dataloader: The config's ``train_dataloader``, without batch size and batch sampler.
        stages: The stage table, see :class:`~nextvid_mm.engine.stages.Stage`.
        val_interval: Steps between validations; one follows the last step in any case.
        val_begin: First step after which validation may run.

    Attributes:
        validated: Whether the checkpoint that this run continues says that its step was validated;
            if it does not and a validation was due, the run begins with it.

    Raises:
        ValueError: If the config says in a second place what the table says.
    """

    validated = False

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        stages: Sequence[Stage | Mapping[str, Any]],
        val_interval: int = 1000,
        val_begin: int = 1,
    ) -> None:
        self.table = StageTable(stages)
        self.batches = self.table.batches(runner.world_size)
        loader = self._with_sampler(runner, dataloader)
        super().__init__(runner, loader, 1, val_begin, val_interval)
        self._max_iters = self.table.total_steps
        self.clock = Clock()
        self._give_table_to_scheduler()

    @property
    def stage(self) -> Stage:
        """Stage of the current step; after the last step, the last stage."""
        return self.table.at(min(self._iter, self.max_iters - 1))[1]

    @property
    def stage_batch(self) -> StageBatch:
        """How the current step's global batch is met."""
        return self.batches[self.table.at(min(self._iter, self.max_iters - 1))[0]]

    def past(self) -> dict[str, Any]:
        """What a checkpoint says about the steps that led to it."""
        return dict(stages=self.table.to_dicts(), data=describe_data(self.dataloader.dataset))

    def check_past(self, meta: Mapping[str, Any]) -> None:
        """Compare stage table and data with those of a checkpoint that is to be continued.

        Raises:
            ValueError: If the tables differ in what lies behind the checkpoint.
        """
        logger, step, total = self.runner.logger, meta['iter'], self.table.total_steps
        for line in compare_data(meta.get('data'), describe_data(self.dataloader.dataset)):
            logger.warning(f'the data has changed, clips may come twice or never: {line}')
        if 'stages' not in meta:
            return
        if step == total:
            logger.info(
                f'{self.runner._load_from} is the end of this run: all {total} steps are done. '
                'To train on, raise steps of the last stage in train_cfg.stages, or add one.'
            )
        for line in compare_tables(meta['stages'], self.table, step):
            logger.warning(f'changed from step {step + 1} on: {line}')

    def _with_sampler(self, runner: Runner, dataloader: Mapping[str, Any]) -> dict[str, Any]:
        """Add the samplers that follow the table to the loader's config."""
        for key in ('batch_size', 'batch_sampler'):
            if key in dataloader:
                raise ValueError(
                    f'train_dataloader.{key} contradicts the stage table: remove it, and set '
                    'batch_size and micro_batch_size in train_cfg.stages'
                )
        config = dict(dataloader)
        self._sampler = dict(type='ClipSampler') | dict(dataloader.get('sampler', {}))
        config['sampler'] = dict(seed=run_seed(runner)) | self._sampler
        config['batch_sampler'] = dict(
            type='StageBatchSampler',
            plan=self.table.plan(runner.world_size),
            rank=runner.rank,
            world_size=runner.world_size,
        )
        config.setdefault('worker_init_fn', dict(type=init_worker))
        config.setdefault('collate_fn', dict(type='nextvid_mm.collate_clips'))
        config['batch_size'] = 1  # MMEngine's builder wants the key; the table decides
        return config

    def _give_table_to_scheduler(self) -> None:
        """Put the table into the config of the scheduler, which is built after this loop."""
        configs = self.runner.param_schedulers
        configs = [configs] if isinstance(configs, Mapping) else configs or []
        ours = [c for c in configs if str(c.get('type')).endswith('StageParamScheduler')]
        if len(ours) != 1:
            raise ValueError(
                "StageTrainLoop needs param_scheduler=dict(type='StageParamScheduler'), found "
                f'{self.runner.param_schedulers}'
            )
        if extra := set(ours[0]) - {'type'}:
            raise ValueError(
                f'remove {sorted(extra)} from param_scheduler: the table lives in train_cfg.stages'
            )
        self.lr_scale = scale = self._auto_lr_scale()
        # Without `end` the Runner would fill in a number of epochs.
        ours[0].update(stages=self.table.to_dicts(), lr_scale=scale, end=self.max_iters)

    def _auto_lr_scale(self) -> float:
        """The factor of ``--auto-scale-lr``: first stage's batch over ``base_batch_size``.

        One factor serves all stages, so that the proportions between them stay as the table has
        them.
        """
        settings = self.runner.auto_scale_lr or {}
        # MMEngine's own scaling asks the loader for a batch size and the table overrules its
        # result.
        self.runner.auto_scale_lr = None
        if not settings.get('enable', False):
            return 1.0
        batch, base = self.table.stages[0].batch_size, settings['base_batch_size']
        self.runner.logger.info(
            f'LR is set based on batch size of {base} and the current batch size is {batch}. '
            f'Scaling the original LR by {batch / base}.'
        )
        return batch / base

    def run(self) -> nn.Module:
        """Train from the runner's iteration to the end of the table, or until a hook stops it."""
        if not hasattr(self.runner.optim_wrapper, 'begin_step'):
            raise TypeError(
                "StageTrainLoop needs optim_wrapper.type='AutocastOptimWrapper', found "
                f'{type(self.runner.optim_wrapper).__name__}'
            )
        self._require_hooks()
        keep_freed_memory()
        batches: Iterator[Any] | None = None
        try:
            self.runner.call_hook('before_train')
            self.runner.call_hook('before_train_epoch')
            batches = self._start_loader()
            with worker_deaths_explained(batches, self.dataloader.dataset):
                self._run_steps(batches)
        except WaitStopped:
            self.runner.call_hook('before_abandoned_step')
        except BaseException:
            self.runner.call_hook('after_failure')
            raise
        finally:
            if batches is not None:
                stop_workers(batches)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _require_hooks(self) -> None:
        """Raise unless what the stage table asks for is carried out.

        A list in a config replaces the one it inherits: whoever writes ``custom_hooks = [...]`` to
        add a hook loses those of the base config, and nothing else would fail.
        """
        needed: dict[type, str] = {StageHook: "nobody would set the stages' tau_samples"}
        if getattr(unwrap(self.runner.model), 'reference', None) is not None:
            stuck = 'model.reference would stay at its first weights'
            needed[EMAHook] = f'{stuck} (EMAHook with momentum=1 does that)'
        for kind, consequence in needed.items():
            if not any(isinstance(hook, kind) for hook in self.runner.hooks):
                found = ', '.join(type(hook).__name__ for hook in self.runner.hooks)
                raise ValueError(
                    f'no {kind.__name__} among the hooks ({found}): {consequence}. A list in a '
                    'config replaces the inherited one; add to it instead: custom_hooks = '
                    '[*_base_.custom_hooks, dict(...)]'
                )

    def _run_steps(self, batches: Iterator[Any]) -> None:
        self.runner.model.train()
        if self._iter and not self.validated:
            self._validate_if_due()
        while self._iter < self.max_iters and not self.stop_training:
            self.run_iter(batches)
            self._validate_if_due()

    def _validate_if_due(self) -> None:
        if not self.stop_training and validates(self, self._iter, self.max_iters):
            with self.clock.spent_on('validation'):
                self.runner.val_loop.run()
            self.runner.model.train()

    def _start_loader(self) -> Iterator[Any]:
        """Iterate over the loader from the runner's step on."""
        if self._iter >= self.max_iters:
            return iter(())
        batch_sampler = self.dataloader.batch_sampler
        if batch_sampler.sampler.seed != self._sampler.get('seed', run_seed(self.runner)):
            # The seed was drawn at random, and resuming has brought back the one drawn then.
            batch_sampler.sampler = DATA_SAMPLERS.build(
                self._sampler | dict(seed=run_seed(self.runner)),
                default_args=dict(dataset=self.dataloader.dataset),
            )
        batch_sampler.set_start(self._iter)
        return iter(self.dataloader)

    def run_iter(self, batches: Iterator[Any]) -> None:
        """Run one optimiser step over as many micro-batches as the stage asks for."""
        step, count = self._iter, self.stage_batch.accumulation
        self.runner.optim_wrapper.begin_step(count)
        sums: dict[str, Tensor] = {}
        for micro in range(count):
            with self.clock.spent_on('loader'), bounded_wait(batches, self.dataloader.dataset):
                data = next(batches)
            if micro == 0:
                self._call('before_train_iter', batch_idx=step, data_batch=data)
            torch.manual_seed(derive_seed(run_seed(self.runner), step, micro, self.runner.rank))
            outputs = self.runner.model.train_step(data, optim_wrapper=self.runner.optim_wrapper)
            outputs = {key: torch.as_tensor(value).detach() for key, value in outputs.items()}
            self._call('after_micro_batch', batch_idx=step, data_batch=data, outputs=outputs)
            for key, value in outputs.items():
                sums[key] = sums[key] + value if key in sums else value
        means = {key: value.float() / count for key, value in sums.items()}
        all_reduce_dict(means, op='mean')
        self._call('after_train_iter', batch_idx=step, data_batch=data, outputs=means)
        self._iter += 1

    def _call(self, name: str, **arguments: Any) -> None:
        with self.clock.spent_on('host'):
            self.runner.call_hook(name, **arguments)


def validates(loop: EpochBasedTrainLoop, done: int, last: int) -> bool:
    """Whether a loop validates after ``done`` of ``last`` steps (or epochs)."""
    if loop.runner.val_loop is None or done < loop.val_begin:
        return False
    return done % loop.val_interval == 0 or done == last


def run_seed(runner: Runner) -> int:
    """The run's seed, the same on every process also with ``diff_rank_seed``."""
    different = runner._randomness_cfg.get('diff_rank_seed', False)
    return runner.seed - (runner.rank if different else 0)
