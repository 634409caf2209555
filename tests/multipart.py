"""Upload forms as bytes: the test client would spool a large one to a file and leave it open."""


def upload(picture: bytes, product: str = "bottle") -> tuple[bytes, str]:
    """Return the body and the content type that a browser sends."""
    body = (
        f'--frontier\r\nContent-Disposition: form-data; name="product"\r\n\r\n{product}\r\n--frontier\r\n'
        'Content-Disposition: form-data; name="image"; filename="part.png"\r\n\r\n'
    ).encode()
    return body + picture + b"\r\n--frontier--", "multipart/form-data; boundary=frontier"
