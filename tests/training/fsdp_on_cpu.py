"""The command line in a process of an FSDP run without a GPU.

accelerate shards on GPUs only, though PyTorch does so on processors too: to accelerate each process
seems to have a GPU, whose device is the processor.
"""

import sys

import torch
from accelerate import DistributedType, PartialState

from emo_llama.cli import main

PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
PartialState.set_device = lambda self: setattr(self, "device", torch.device("cpu"))

if __name__ == "__main__":
    sys.exit(main())
