"""Measure the overhead of a Dask cluster: prepare a table of many files without and with two local workers.

    python -m benchmarks.dask_cluster [FILES [ROWS_EACH]]

Both variants load, split, format and upload to the sandbox in a Prefect flow. A cluster on one machine has no
additional processors, so the difference is overhead: files in the bucket instead of on disk, tasks, processes.
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
    from tasks.check import find_treatments
    from tasks.encode import encode
    from tasks.format import format_channels
    from tasks.load import find, load
    from tasks.parameters import Dataset, RunParameters, Split
    from tasks.split import split_rows
    from tasks.upload import Uploaded, upload

    workspace = make_workspace(url)
    for number in range(files):
        workspace.client("s3").put_object(
            Bucket=workspace.bucket.bucket_name,
            Key=f"table/{number:04d}.csv",
            Body=employees(rows_each, seed=number).to_csv(index=False).encode(),
        )

    @flow(persist_result=False)
    def prepare(prefix: str, scheduler: str | None) -> tuple[float, Uploaded]:
        target = workspace.model_copy(update={"prefix": prefix, "dask_scheduler": scheduler})
        begin = time.perf_counter()
        dataset = Dataset(source="table/")
        table = load.with_options(persist_result=False)(target, find(target, dataset), dataset)
        rows = split_rows.with_options(persist_result=False)(target, table, Split())
        checked = find_treatments(table, rows, RunParameters(dataset=dataset))
        encoding = encode.with_options(persist_result=False)(target, table, rows, checked, dataset)
        formatted = format_channels.with_options(persist_result=False)(target, table, rows, encoding)
        uploaded = upload.with_options(persist_result=False)(target, formatted)
        return time.perf_counter() - begin, uploaded

    local_seconds, local = prepare("local", None)
    with LocalCluster(  # type: ignore[no-untyped-call] # has no types
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        cluster_seconds, distributed = prepare("cluster", cluster.scheduler_address)
    equal = [file.sha256 for file in local.files] == [file.sha256 for file in distributed.files]
    print(f"{files} files of {rows_each:,} rows: without a cluster {local_seconds:.1f} s, with {cluster_seconds:.1f} s")
    print(
        f"overhead {cluster_seconds - local_seconds:+.1f} s, {cluster_seconds / local_seconds:.2f} times the duration"
    )
    print(f"{'ok' if equal else 'FAILED'}: the channels are equal")
    return not equal


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
