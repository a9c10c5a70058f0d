"""A Prefect flow of seven empty tasks, started like the training flow, to measure the time of Prefect itself."""

from prefect import flow, task


@task
def nothing() -> None:
    pass


@flow
def seven_empty_tasks() -> None:
    for _ in range(7):
        nothing()


if __name__ == "__main__":
    seven_empty_tasks()
