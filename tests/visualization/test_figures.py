import base64
import io

import numpy as np
from PIL import Image

from nextvid_mm.visualization.figures import data_uri, figure_image, new_figure, shade_spans


def test_a_figure_becomes_a_picture_that_holds_itself():
    figure = new_figure()
    axis = figure.add_subplot()
    axis.plot([0, 10], [0, 1])
    shade_spans([axis], [('warm-up', 0, 4), ('stable', 4, 10)])
    image = figure_image(figure, dpi=60)
    assert {text.get_text() for text in axis.texts} == {'warm-up', 'stable'}
    kind, content = data_uri(image).split(',')
    assert kind == 'data:image/png;base64'
    again = Image.open(io.BytesIO(base64.b64decode(content)))
    assert np.array_equal(np.asarray(again), np.asarray(image))


def test_photographs_are_jpeg():
    uri = data_uri(Image.new('RGB', (8, 8), 'red'), quality=80)
    assert uri.startswith('data:image/jpeg;base64,')
