"""`python -m bench.generate RUN`: write with a trained model."""

import sys

from bench.config.errors import Parser, UserError
from bench.evaluation.generation import continue_text


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = Parser(prog="python -m bench.generate", description="Write with a trained model.")
    parser.add_argument("run", help="a run's folder: results/<suite>/runs/<run>")
    parser.add_argument("--prompt", default="", help="what the text begins with")
    parser.add_argument(
        "--tokens", type=int, default=200, help="how many tokens to write (default 200)"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.8, help="0: always the likeliest token (default 0.8)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    try:
        asked = parser.parse_args(arguments)
        if asked.tokens < 0 or not asked.temperature >= 0:
            raise UserError("--tokens and --temperature take 0 or more")
        from architectures.interface import Unsupported
        from bench.training import checkpoint

        trained = checkpoint.load(asked.run, asked.device)
        try:
            print(asked.prompt + continue_text(
                trained.model, trained.vocabulary, asked.prompt, asked.tokens, asked.temperature, asked.seed
            ))  # fmt: skip
        except Unsupported as reason:
            raise UserError(f"{asked.run} can not write: {reason}") from None
    except UserError as mistake:
        print(f"error: {mistake} [{mistake.code}]", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
