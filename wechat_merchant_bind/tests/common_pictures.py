"""Read pictures of binding codes."""

import io

import zxingcpp
from PIL import Image


def read_code(content):
    """Return the text of the one QR code in a picture.

    :param bytes content: the image file.
    """
    [code] = zxingcpp.read_barcodes(Image.open(io.BytesIO(content)).convert("L"))
    return code.text
