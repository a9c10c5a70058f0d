"""Prepare a table of many files alone and on a local Dask cluster of two workers: what the cluster costs.

    python -m benchmarks.dask_cluster [FILES [ROWS_EACH]]

Both load, split, format and upload to the sandbox, in a Prefect flow. A cluster on one machine has no more processors
to offer, so the difference is overhead: files through the bucket instead of the disk, tasks, processes.
"""

import os
import sys
import time
from tempfile import TemporaryDirectory

from benchmarks.unchanged import move_to, own_sandbox
from flows.cli.local_services import LocalPrefectServer

FILES, ROWS_EACH = 8, 500_000


def main(files: int = FILES, rows_each: int = ROWS_EACH) -> int:
    with TemporaryDirectory() as home:
        move_to(home)
        server = LocalPrefectServer()
        try:
            with own_sandbox() as url:
                server.wait()
                os.environ["PREFECT_API_URL"] = server.api_url
                return compare(url, files, rows_each)
        finally:
            server.close()


def compare(url: str, files: int, rows_each: int) -> int:
    from distributed import LocalCluster
    from prefect import flow

    from sandbox.client import make_workspace
    from sandbox.samples import employees
    from tasks.format import format_channels
    from tasks.load import find, load
    from tasks.parameters import Dataset, Split
    from tasks.split import split_rows
    from tasks.upload import Uploaded, upload

    alone = make_workspace(url)
    for number in range(files):
        alone.client("s3").put_object(
            Bucket=alone.bucket.bucket_name,
            Key=f"table/{number:04d}.csv",
            Body=employees(rows_each, seed=number).to_csv(index=False).encode(),
        )

    @flow(persist_result=False)
    def prepare(prefix: str, scheduler: str | None) -> tuple[float, Uploaded]:
        where = alone.model_copy(update={"prefix": prefix, "dask_scheduler": scheduler})
        begin = time.perf_counter()
        dataset = Dataset(source="table/")
        table = load.with_options(persist_result=False)(where, find(where, dataset), dataset)
        rows = split_rows.with_options(persist_result=False)(where, table, Split())
        formatted = format_channels.with_options(persist_result=False)(where, table, rows)
        uploaded = upload.with_options(persist_result=False)(where, formatted)
        return time.perf_counter() - begin, uploaded

    single, here = prepare("alone", None)
    with LocalCluster(  # type: ignore[no-untyped-call] # has no types
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        many, there = prepare("together", cluster.scheduler_address)
    same = [file.sha256 for file in here.files] == [file.sha256 for file in there.files]
    print(f"{files} files of {rows_each:,} rows: this machine {single:.1f} s, a cluster of two workers {many:.1f} s")
    print(f"{'ok ' if same else 'NOT'} the same channels; overhead {many - single:+.1f} s, {many / single:.2f} times")
    return not same


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
