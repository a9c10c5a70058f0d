"""`python -m flows.undeploy ENDPOINT`: delete an endpoint and everything that belongs to it."""

if __name__ == "__main__":
    # Before the other imports: the command line prints, and starts its servers, while Prefect is being imported.
    from importlib import import_module

    from flows.cli.command import run_command

    raise SystemExit(
        run_command(
            lambda: import_module("flows.cli.deploy").undeploy_main(
                lambda: import_module("flows.deploy").undeploy_model
            )
        )
    )
