"""A Prefect flow of seven empty tasks, started as the training flow is: what Prefect itself takes."""

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
