"""NAFNet written down step by step from the description of the paper's code, as an oracle."""

import math

import torch
from torch.nn import functional as F


def norm(x, gain):
    mean = x.mean(1, keepdim=True)
    variance = ((x - mean) ** 2).mean(1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain.view(1, -1, 1, 1)


def gate(x):
    half = x.shape[1] // 2
    return x[:, :half] * x[:, half:]


def conv(layer, x, **options):
    return F.conv2d(x, layer.weight, layer.bias, **options)


def block(module, x, embedding=None):
    channels = x.shape[1]
    shift_attention = shift_feed = x.new_zeros(1, channels, 1, 1)
    scale_attention = scale_feed = x.new_zeros(1, channels, 1, 1)
    if embedding is not None:
        mixed = F.linear(gate(embedding), module.time.weight, module.time.bias)
        mixed = mixed.view(*mixed.shape, 1, 1)
        shift_attention = mixed[:, :channels]
        scale_attention = mixed[:, channels : 2 * channels]
        shift_feed = mixed[:, 2 * channels : 3 * channels]
        scale_feed = mixed[:, 3 * channels :]
    y = norm(x, module.norm1.gain) * (scale_attention + 1) + shift_attention
    y = conv(module.conv1, y)
    y = gate(conv(module.conv2, y, padding=1, groups=2 * channels))
    y = y * conv(module.attention.mix, F.adaptive_avg_pool2d(y, 1))
    x = x + module.beta * conv(module.conv3, y)
    y = norm(x, module.norm2.gain) * (scale_feed + 1) + shift_feed
    y = conv(module.conv5, gate(conv(module.conv4, y)))
    return x + module.gamma * y


def time_embedding(module, time, width):
    half = width // 2
    frequencies = torch.tensor([math.exp(-math.log(10_000) * k / (half - 1)) for k in range(half)])
    angles = time[:, None] * frequencies[None]
    waves = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)
    first = F.linear(waves, module.linear1.weight, module.linear1.bias)
    return F.linear(gate(first), module.linear2.weight, module.linear2.bias)


def levels(network, x, embedding=None):
    """The U-shape of a network with one block at each level; sizes must be divisible."""
    x = conv(network.intro, x, padding=1)
    skips = []
    for blocks, down in zip(network.encoders, network.downs, strict=True):
        x = block(blocks[0], x, embedding)
        skips.append(x)
        x = conv(down, x, stride=2)
    x = block(network.middle[0], x, embedding)
    for blocks, up in zip(network.decoders, network.ups, strict=True):
        x = F.pixel_shuffle(conv(up[0], x), 2) + skips.pop()
        x = block(blocks[0], x, embedding)
    return conv(network.ending, x, padding=1)


def predictor(network, image):
    return levels(network, image) + image


def denoiser(network, noisy, time, condition):
    embedding = time_embedding(network.time_embedding, time, network.time_embedding.channels)
    return levels(network, torch.cat([noisy, condition], dim=1), embedding)


def awaken_(network, seed=0):
    """Draw every parameter, also those with which a fresh block is the identity."""
    generator = torch.Generator().manual_seed(seed)
    network.initialize_(generator)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("beta", "gamma")):
                parameter.normal_(0, 0.5, generator=generator)
            if name.endswith("gain"):
                parameter.uniform_(0.5, 1.5, generator=generator)
    return network
