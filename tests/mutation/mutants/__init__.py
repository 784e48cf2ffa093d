"""The list of mutants."""

from mutation.mutants.animatediff import ANIMATEDIFF
from mutation.mutants.app import APP
from mutation.mutants.choosing import CHOOSING
from mutation.mutants.counting import COUNTING
from mutation.mutants.inspection import INSPECTION
from mutation.mutants.maps import MAPS
from mutation.mutants.measuring import MEASURING
from mutation.mutants.network import NETWORK
from mutation.mutants.packs import PACKS
from mutation.mutants.reader import READER
from mutation.mutants.resume import RESUME
from mutation.mutants.sampling import SAMPLED
from mutation.mutants.several_clips import SEVERAL_CLIPS
from mutation.mutants.training_loss import TRAINING_LOSS
from mutation.mutants.transformer_bases import TRANSFORMER_BASES
from mutation.mutants.wan_parts import WAN_PARTS

MUTANTS = [
    *TRAINING_LOSS,
    *SAMPLED,
    *NETWORK,
    *READER,
    *INSPECTION,
    *RESUME,
    *TRANSFORMER_BASES,
    *WAN_PARTS,
    *ANIMATEDIFF,
    *COUNTING,
    *MAPS,
    *MEASURING,
    *PACKS,
    *CHOOSING,
    *APP,
    *SEVERAL_CLIPS,
]
