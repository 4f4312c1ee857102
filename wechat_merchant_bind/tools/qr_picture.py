"""Pictures of QR codes. They need no Odoo environment, so a download can draw them while it is streamed."""

import io

import qrcode

# 20 pixels a module: a code of version 3 is 740 pixels wide, sharp at 6 cm and 300 dpi.
PIXELS_PER_MODULE = 20
QUIET_ZONE = 4  # modules, the margin that scanners need


def draw_png(content, pixels_per_module=PIXELS_PER_MODULE):
    """Draw a QR code.

    :param str content: the text of the code.
    :param int pixels_per_module: size of the smallest square.
    :return: a PNG in black and white, with the quiet zone.
    :rtype: bytes
    """
    code = qrcode.QRCode(
        error_correction=qrcode.constants.ERROR_CORRECT_M, box_size=pixels_per_module, border=QUIET_ZONE
    )
    code.add_data(content)
    picture = io.BytesIO()
    code.make_image().save(picture, format="PNG", optimize=True)
    return picture.getvalue()
