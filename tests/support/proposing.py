"""Settings of a proposal, without looking at videos."""

from nextvid_mm.plan.proposed_configs import Settings
from nextvid_mm.plan.proposed_schedule import published_stages


def settings(**changes):
    given = dict(
        name='mine', folder="data/it's mine", size='tiny', arch='tiny', width=128, heads=4,
        img_size=64, patch_size=16, tubelet_size=2, fps=4.0, num_frames=16, masks=(),
        queries='all', stages=published_stages(16, 64), pictures=0.0, workers=1, vavae=False,
        on_cpu=True, interval=100,
    )  # fmt: skip
    return Settings(**given | changes)
