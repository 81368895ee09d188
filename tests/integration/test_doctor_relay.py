"""Faults of a driver's laptop that nobody else has to be there for."""

from __future__ import annotations

from pathlib import Path

from dbsync.bundle.names import BundleName
from dbsync.config.load import load_relay
from dbsync.relay.middleman import opened
from tests.support.relayed import Relay
from tests.support.ward import recognises


@recognises("bundle_refused", "bundle_waits", "disk_low")
def test_what_a_driver_holds_and_nobody_takes_is_told(tmp_path: Path) -> None:
    driver = Relay(tmp_path)
    with opened(load_relay(driver.folder / "relay.toml")) as relay:
        for number, trouble in ((1, "it cannot be opened"), (2, "")):
            name = BundleName(node="field-07", life="0" * 8, first=number, last=number)
            relay.records.take(name, 100, "ab" * 32)
            if trouble:
                relay.records.troubled(name, trouble)
    with (driver.folder / "relay.toml").open("a") as file:
        file.write('[check]\nsilent = "0"\nfree_disk = "900TB"\n')
    found = {one.code: one for one in driver.wrong()}
    assert set(found) == {"disk_low", "bundle_refused", "bundle_waits", "not_enrolled"}
    assert "it cannot be opened" in found["bundle_refused"].what
    assert found["bundle_refused"].remedy.startswith("dbsync relay drop field-07.00000000.000001-000001.dbsync ")
