"""The hooks of lbench's own entries, from networks to the figures of reports."""

from __future__ import annotations

from pathlib import Path

from lbench.hooks import (
    AnalysisEntry,
    DatasetEntry,
    FigureEntry,
    NetworkEntry,
    PublishedEntry,
    SequenceEntry,
    hookimpl,
)

API = 1


@hookimpl
def lbench_networks() -> list[NetworkEntry]:
    mlp, cnn = "lbench.networks.mlp:Mlp", "lbench.networks.cnn:Cnn"
    resnet, mixer = "lbench.networks.resnet:Resnet", "lbench.networks.mixer:LocalMixer"
    vgg, lenet = "lbench.networks.vgg:Vgg", "lbench.networks.lenet:Lenet"
    lfnn = "lbench.networks.lfnn_v1:LfnnV1"
    imagenet = "lbench.networks.imagenet_resnet:ImagenetResnet"
    vit, convnext = "lbench.networks.vit:Vit", "lbench.networks.convnext:ConvNext"
    return [
        NetworkEntry("mlp", "Fully connected ReLU network of any widths", mlp),
        NetworkEntry(
            "mlp-275k", "784-260-260-10, 274,570 parameters on MNIST", mlp, {"widths": (260, 260)}
        ),
        NetworkEntry(
            "mlp-438k", "784-390-330-10, 438,490 parameters on MNIST", mlp, {"widths": (390, 330)}
        ),
        NetworkEntry(
            "mlp-2x256", "784-256-256-10, 269,322 parameters on MNIST", mlp, {"widths": (256, 256)}
        ),
        NetworkEntry(
            "mlp-2x1000",
            "Two layers of 1000 units, 13.5M parameters on Tiny ImageNet",
            mlp,
            {"widths": (1000, 1000)},
        ),
        NetworkEntry(
            "mlp-3x1024",
            "784-1024-1024-1024-10 with BatchNorm, 2.9M parameters on MNIST",
            mlp,
            {"widths": (1024, 1024, 1024), "norm": "batch"},
        ),
        NetworkEntry(
            "mlp-3x3000",
            "3072-3000-3000-3000-10 with BatchNorm, 27.3M parameters on CIFAR-10",
            mlp,
            {"widths": (3000, 3000, 3000), "norm": "batch"},
        ),
        NetworkEntry(
            "mlp-deep",
            "Fully connected ReLU network of any depth with layers of one width",
            "lbench.networks.mlp_deep:MlpDeep",
        ),
        NetworkEntry(
            "one-vs-all",
            "Fully connected, 32 units per class, 254,410 parameters on MNIST",
            "lbench.networks.one_vs_all:OneVsAll",
        ),
        NetworkEntry("cnn", "3x3 convolutions, with max pooling behind every pair", cnn),
        NetworkEntry("cnn-876k", "Six 3x3 convolutions, 905,430 parameters on CIFAR-10", cnn),
        NetworkEntry(
            "cnn-cpu",
            "cnn with a fifth of the operations, 181,640 parameters on CIFAR-10",
            cnn,
            {"widths": (30, 30, 50, 50, 100, 100)},
        ),
        NetworkEntry("lenet", "LeNet-5 with ReLU, 61,706 parameters on MNIST", lenet),
        NetworkEntry(
            "lenet-cifar",
            "LeNet-5 of 32, 64 and 128 channels, 270,310 parameters on CIFAR-10",
            lenet,
            {"widths": (32, 64, 128, 84)},
        ),
        NetworkEntry("vgg", "3x3 convolutions, then fully connected layers; any widths", vgg),
        NetworkEntry(
            "vgg8b", "Six convolutions and a layer of 1024 units, 8.9M parameters on CIFAR-10", vgg
        ),
        NetworkEntry(
            "vgg11b",
            "Nine convolutions and a layer of 1024 units, 11.6M parameters on CIFAR-10",
            vgg,
            {
                "widths": (128, 128, 128, 256, 256, 512, 512, 512, 512),
                "pools": (4, 6, 8, 9),
            },
        ),
        NetworkEntry(
            "vgg-37m",
            "Six convolutions and a layer of 1200 units, 37.2M parameters on Tiny ImageNet",
            vgg,
            {"widths": (400, 400, 800, 800, 800, 800), "pools": (1, 2, 4, 6), "hidden": (1200,)},
        ),
        NetworkEntry("resnet", "Residual network for small images, any depth and width", resnet),
        NetworkEntry("resnet8", "Residual network of 8 layers", resnet, {"depth": 8}),
        NetworkEntry(
            "resnet20", "Residual network of 20 layers, 269,722 parameters on CIFAR-10", resnet
        ),
        NetworkEntry(
            "resnet32",
            "Residual network of 32 layers, 464,154 parameters on CIFAR-10",
            resnet,
            {"depth": 32},
        ),
        NetworkEntry(
            "resnet56",
            "Residual network of 56 layers, 853,018 parameters on CIFAR-10",
            resnet,
            {"depth": 56},
        ),
        NetworkEntry(
            "resnet110",
            "Residual network of 110 layers, 1,727,962 parameters on CIFAR-10",
            resnet,
            {"depth": 110},
        ),
        NetworkEntry("resnet18", "ResNet-18 in torchvision's layout, 11.7M parameters", imagenet),
        NetworkEntry(
            "resnet34",
            "ResNet-34 in torchvision's layout, 21.8M parameters",
            imagenet,
            {"stages": (3, 4, 6, 3)},
        ),
        NetworkEntry(
            "resnet50",
            "ResNet-50 in torchvision's layout, 25.6M parameters",
            imagenet,
            {"stages": (3, 4, 6, 3), "bottleneck": True},
        ),
        NetworkEntry(
            "resnet101",
            "ResNet-101 in torchvision's layout, 44.5M parameters",
            imagenet,
            {"stages": (3, 4, 23, 3), "bottleneck": True},
        ),
        NetworkEntry(
            "resnet152",
            "ResNet-152 in torchvision's layout, 60.2M parameters",
            imagenet,
            {"stages": (3, 8, 36, 3), "bottleneck": True},
        ),
        NetworkEntry("mixer", "LocalMixer of any patches, channels, groups and depth", mixer),
        NetworkEntry(
            "mixer-s", "LocalMixer S/1/1, 271,892 parameters on MNIST with a local head", mixer
        ),
        NetworkEntry(
            "mixer-275k",
            "LocalMixer of 260 channels, 274,570 parameters on MNIST",
            mixer,
            {"channels": 260},
        ),
        NetworkEntry(
            "mixer-1000",
            "LocalMixer of 1000 channels, 13.5M parameters on Tiny ImageNet",
            mixer,
            {"channels": 1000},
        ),
        NetworkEntry(
            "mixer-m",
            "LocalMixer M/1/16, 429,076 parameters on MNIST with a local head",
            mixer,
            {"channels": 512, "groups": 16},
        ),
        NetworkEntry(
            "mixer-m8",
            "LocalMixer M/8/16, 918,770 parameters on CIFAR-10 with local heads",
            mixer,
            {"patches": 8, "channels": 512, "groups": 16, "depth": 4},
        ),
        NetworkEntry(
            "mixer-l8",
            "LocalMixer L/8/64, 13.1M parameters on CIFAR-10 with local heads",
            mixer,
            {"patches": 8, "channels": 2048, "groups": 64, "depth": 4},
        ),
        NetworkEntry(
            "mixer-l",
            "LocalMixer L/32/64, 26.6M parameters on ImageNet with local heads",
            mixer,
            {"patches": 32, "channels": 2048, "groups": 64, "depth": 4},
        ),
        NetworkEntry("vit-tiny", "Vision transformer, Ti/16 on ImageNet, 5.7M parameters", vit),
        NetworkEntry(
            "vit-s16",
            "Vision transformer S/16, 22.1M parameters on ImageNet",
            vit,
            {"patch": 16, "channels": 384, "heads": 6},
        ),
        NetworkEntry(
            "vit-b16",
            "Vision transformer B/16 in torchvision's layout, 86.6M parameters on ImageNet",
            vit,
            {"patch": 16, "channels": 768, "heads": 12},
        ),
        NetworkEntry(
            "convnext-tiny", "ConvNeXt-T in torchvision's layout, 28.6M parameters", convnext
        ),
        NetworkEntry(
            "lfnn-v1-mnist", "Two pairs of convolutions, as in LFNN's first code for MNIST", lfnn
        ),
        NetworkEntry(
            "lfnn-v1-cifar",
            "Two pairs of convolutions, as in LFNN's first code for CIFAR-10",
            lfnn,
            {"widths": (128, 64, 82, 128)},
        ),
    ]


@hookimpl
def lbench_datasets() -> list[DatasetEntry]:
    imagenet = "lbench.data.imagenet"
    return [
        DatasetEntry(
            "digits", "Digits (8x8)", "lbench.data.digits:Digits", "mlp", (1, 8, 8), classes=10
        ),
        DatasetEntry(
            "mnist",
            "MNIST",
            "lbench.data.mnist:Mnist",
            "mlp-275k",
            (1, 28, 28),
            classes=10,
            reference=True,
        ),
        DatasetEntry(
            "cifar10",
            "CIFAR-10",
            "lbench.data.cifar10:Cifar10",
            "cnn-876k",
            (3, 32, 32),
            classes=10,
        ),
        DatasetEntry("cifar100", "CIFAR-100", "lbench.data.cifar100:Cifar100", "cnn-876k"),
        DatasetEntry(
            "fashion-mnist",
            "Fashion-MNIST",
            "lbench.data.mnist:FashionMnist",
            "mlp-275k",
            (1, 28, 28),
            classes=10,
        ),
        DatasetEntry(
            "kmnist", "KMNIST", "lbench.data.mnist:Kmnist", "mlp-275k", (1, 28, 28), classes=10
        ),
        DatasetEntry("emnist", "EMNIST", "lbench.data.emnist:Emnist", "mlp-275k"),
        DatasetEntry("svhn", "SVHN", "lbench.data.svhn:Svhn", "cnn-876k", (3, 32, 32), classes=10),
        DatasetEntry(
            "stl10", "STL-10", "lbench.data.stl10:Stl10", "cnn-876k", (3, 96, 96), classes=10
        ),
        DatasetEntry(
            "imagenet32",
            "ImageNet 32x32",
            "lbench.data.imagenet32:Imagenet32",
            "resnet20",
            (3, 32, 32),
            classes=1000,
        ),
        DatasetEntry(
            "imagefolder", "A folder of class folders", "lbench.data.imagefolder:ImageFolder", "cnn"
        ),
        DatasetEntry(
            "tiny-imagenet",
            "Tiny ImageNet",
            "lbench.data.tiny_imagenet:TinyImagenet",
            "resnet18",
            (3, 64, 64),
            classes=200,
        ),
        DatasetEntry("imagenet", "ImageNet", f"{imagenet}:Imagenet", "resnet50"),
        DatasetEntry("imagenet100", "ImageNet-100", f"{imagenet}:Imagenet100", "resnet50"),
        DatasetEntry("imagenet-1pct", "ImageNet 1 %", f"{imagenet}:Imagenet1Pct", "resnet50"),
    ]


@hookimpl
def lbench_sequences() -> list[SequenceEntry]:
    sequence = "lbench.data.sequence"
    return [
        SequenceEntry("permuted", "Permuted", f"{sequence}:Permuted", "mlp-2x256"),
        SequenceEntry("split", "Split", f"{sequence}:ClassGroups", "mlp-2x256"),
    ]


@hookimpl
def lbench_published() -> list[PublishedEntry]:
    return [
        PublishedEntry(path.stem, path)
        for path in sorted((Path(__file__).parent / "published").glob("*.csv"))
    ]


@hookimpl
def lbench_figures() -> list[FigureEntry]:
    figures = "lbench.report.figures"
    return [
        FigureEntry("lines", "Test error against a setting", f"{figures}.axis:lines"),
        FigureEntry("bars", "All configurations by their test error", f"{figures}.axis:bars"),
        FigureEntry(
            "curves",
            "Training loss and validation error against epochs, seconds and operations",
            f"{figures}.training:curves",
        ),
        FigureEntry("history", "Every trial of each search", f"{figures}.searching:history"),
        FigureEntry(
            "best_so_far", "The best trial so far of all searches", f"{figures}.searching:tuning"
        ),
        FigureEntry(
            "importance",
            "Share of the variance between trials that each setting explains",
            f"{figures}.searching:importance",
        ),
        FigureEntry(
            "slice",
            "Trials against one setting, with marks on those not significantly worse than the best",
            f"{figures}.searching:one_setting",
        ),
        FigureEntry(
            "pareto",
            "Test error against a cost, or the objectives of searches with several",
            f"{figures}.front:pareto",
        ),
    ]


@hookimpl
def lbench_analyses() -> list[AnalysisEntry]:
    answers = "lbench.report.answers"
    return [
        AnalysisEntry(
            "best",
            "The lowest error of each task, and configurations that do not differ significantly",
            f"{answers}.best:best",
        ),
        AnalysisEntry(
            "identify",
            "The best configuration of each search, and ranges that do not differ significantly",
            f"{answers}.identify:identify",
        ),
        AnalysisEntry(
            "grid",
            "The lowest error along the first axis, and values that do not differ significantly",
            f"{answers}.grid:grid",
        ),
        AnalysisEntry(
            "factor",
            "Every value of the first axis compared with the rule's default",
            f"{answers}.factor:factor",
        ),
        AnalysisEntry(
            "followers",
            "Every configuration compared with the first arm, and the mean effect of binary axes",
            f"{answers}.arms:followers",
        ),
        AnalysisEntry(
            "ablation",
            "The arms in the order of their error, and which neighbours differ significantly",
            f"{answers}.arms:ablation",
        ),
        AnalysisEntry(
            "samples",
            "The lowest error along each axis, and rules that do not differ significantly",
            f"{answers}.best:samples",
        ),
        AnalysisEntry("screen", "Rules that are better than chance", f"{answers}.rules:screen"),
        AnalysisEntry(
            "table1",
            "The lowest error of each network, and the best rule without backpropagation",
            f"{answers}.rules:table1",
        ),
        AnalysisEntry(
            "online",
            "The lowest error along the first axis, and the trend along the second",
            f"{answers}.grid:online",
        ),
    ]
