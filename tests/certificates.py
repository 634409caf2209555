"""Certificates for tests: an authority, and what it issues for a broker or a client; expired ones too."""

import subprocess
from pathlib import Path


class Authority:
    """A CA in a folder; `issue` makes NAME.pem and NAME.key beside its ca.pem."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._openssl(
            "req", "-x509", *_KEY, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca"
        )

    def issue(self, name: str, *, address: str = "IP:127.0.0.1", days: int = 2) -> Path:
        """Sign a certificate for `name` that ends in `days`, in the past if negative; return its path."""
        self._openssl("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.folder / "names").write_text(f"subjectAltName={address}\n")
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names")
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", str(days), *signer
        )
        return self.folder / f"{name}.pem"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
