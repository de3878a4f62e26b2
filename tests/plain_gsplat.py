"""gsplat without a graphics card, for tests: its own plain PyTorch formulas of projection and harmonics, and
compositing of all Gaussians with all pixels, with the thresholds that its CUDA kernels have. For small pictures."""

from __future__ import annotations

from typing import Any


def spherical_harmonics(degrees_to_use: int, dirs: Any, coeffs: Any, masks: Any = None) -> Any:
    from gsplat.cuda._torch_impl import _spherical_harmonics

    return _spherical_harmonics(degrees_to_use, dirs, coeffs)


def rasterization(
    means: Any,
    quats: Any,
    scales: Any,
    opacities: Any,
    colors: Any,
    viewmats: Any,
    Ks: Any,
    width: int,
    height: int,
    *,
    near_plane: float,
    eps2d: float,
    packed: bool,
    backgrounds: Any,
    render_mode: str,
    rasterize_mode: str,
) -> tuple[Any, Any, dict[str, Any]]:
    """gsplat.rasterization for one camera and colours that are ready."""
    import torch
    from gsplat.cuda._torch_impl import _fully_fused_projection, _quat_scale_to_covar_preci

    assert not packed and render_mode in ("RGB", "RGB+D") and len(viewmats) == 1
    for a in (means, quats, scales, opacities, colors, viewmats, Ks):
        assert a.is_contiguous() and a.dtype == torch.float32
    covars, _ = _quat_scale_to_covar_preci(quats, scales, True, False)
    radii, means2d, depths, conics, shares = _fully_fused_projection(
        means, covars, viewmats, Ks, width, height, eps2d, near_plane, 1e10, rasterize_mode == "antialiased"
    )
    opacity = opacities if shares is None else opacities * shares[0]
    radii = torch.where((opacity >= 1 / 255)[None, :, None], radii, 0)
    if render_mode == "RGB+D":
        colors = torch.cat([colors, depths[0][:, None]], 1)
        backgrounds = torch.cat([backgrounds, backgrounds.new_zeros(1, 1)], 1)
    drawn = (radii[0] > 0).all(-1).nonzero()[:, 0]
    drawn = drawn[depths[0, drawn].detach().argsort(stable=True)]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    dx = x.reshape(1, -1) - means2d[0, drawn, 0][:, None]
    dy = y.reshape(1, -1) - means2d[0, drawn, 1][:, None]
    a, b, c = (conics[0, drawn, k][:, None] for k in range(3))
    alpha = opacity[drawn][:, None] * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy)
    alpha = torch.where(alpha >= 1 / 255, alpha.clamp(max=0.999), 0.0)
    after = torch.cumprod(1 - alpha, 0)
    before = torch.cat([torch.ones_like(after[:1]), after[:-1]])
    weight = torch.where(after > 1e-4, alpha * before, 0.0)
    light = 1 - weight.sum(0)
    image = weight.T @ colors[drawn] + light[:, None] * backgrounds
    shape = (1, height, width, -1)
    return image.reshape(shape), (1 - light).reshape(shape), {"means2d": means2d, "radii": radii}
