"""Certificates of our own making, whoever makes them at the same time, and whatever was lost."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from compose.certificates import certificates


def test_services_that_start_at_once_have_one_authority(tmp_path):
    for number in range(5):
        folder = tmp_path / str(number)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: certificates(folder, ["gateway.lab"]), range(8)))  # noqa: B023
        found = certificates(folder, ["gateway.lab"])  # as at the next start
        root = x509.load_pem_x509_certificate(found.authority.read_bytes())
        shown = x509.load_pem_x509_certificate(found.certificate.read_bytes())
        shown.verify_directly_issued_by(root)
        key = serialization.load_pem_private_key(found.key.read_bytes(), None)
        assert key.public_key() == shown.public_key()


def test_the_authority_stays_when_names_are_added(tmp_path):
    root = certificates(tmp_path, ["a.lab"]).authority.read_bytes()
    assert certificates(tmp_path, ["b.lab"]).authority.read_bytes() == root


def test_an_authority_whose_key_is_lost_says_what_to_do(tmp_path):
    found = certificates(tmp_path, ["a.lab"])
    (tmp_path / "private" / "authority.key").unlink()
    certificates(tmp_path, ["a.lab"])  # good for now
    for _ in range(2):
        with pytest.raises(OSError, match="every instrument must be enrolled anew"):
            certificates(tmp_path, ["b.lab"])
    assert found.certificate.is_file()
