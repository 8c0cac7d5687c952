"""Reading an encoder or a generator from a file; nothing in a file is run."""

from .adapting import adapt_encoder, causal_settings
from .config_data import config_text, parse_config, plain_config, read_config
from .encoder import (
    EXPORT_KEY,
    PREFIXES,
    EncoderOrigin,
    check_same_backbone,
    describe_encoder,
    encoder_state,
    essential_config,
    hash_weights,
    load_encoder,
    open_encoder,
    read_checkpoint,
    require_room,
    stored_backbone,
    stored_config,
)
from .files import find_file, read_file, read_metadata
from .generator import Generator, find_component, load_generator, open_folder, training_fps
from .initializer import EncoderWeights
from .wrappers import AVERAGED, TRAINED, FoundWeights, bare, find_weights, log_choice, under

__all__ = [
    'AVERAGED',
    'EXPORT_KEY',
    'PREFIXES',
    'TRAINED',
    'EncoderOrigin',
    'EncoderWeights',
    'FoundWeights',
    'Generator',
    'adapt_encoder',
    'bare',
    'causal_settings',
    'check_same_backbone',
    'config_text',
    'describe_encoder',
    'encoder_state',
    'essential_config',
    'find_component',
    'find_file',
    'find_weights',
    'hash_weights',
    'load_encoder',
    'load_generator',
    'log_choice',
    'open_encoder',
    'open_folder',
    'parse_config',
    'plain_config',
    'read_checkpoint',
    'read_config',
    'read_file',
    'read_metadata',
    'require_room',
    'stored_backbone',
    'stored_config',
    'training_fps',
    'under',
]
