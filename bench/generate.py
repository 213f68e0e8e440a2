"""`python -m bench.generate RUN`: write with a trained model."""

import sys

from bench.cli.command import command
from bench.config.errors import Parser, UserError


def parser() -> Parser:
    """Return the parser of the command line."""
    made = Parser(prog="python -m bench.generate", description="Write with a trained model.")
    made.add_argument("run", help="the folder of a run: results/<suite>/runs/<run>")
    made.add_argument("--prompt", default="", help="what the text begins with")
    made.add_argument("--tokens", type=int, default=200, help="tokens to write (default 200)")
    made.add_argument(
        "--temperature", type=float, default=0.8, help="0: always the likeliest token (default 0.8)"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--device", default="cpu")
    made.add_argument(
        "--decode",
        choices=("auto", "eager", "compiled"),
        default="auto",
        help="form of the one-token step (default auto: compiled from 50,000 tokens on)",
    )
    return made


@command(stopped="nothing was recorded")
def main(arguments: list[str]) -> int:
    """Print a prompt with its continuation."""
    args = parser().parse_args(arguments)
    if args.tokens < 0 or not args.temperature >= 0:
        raise UserError("--tokens and --temperature take 0 or more", "invalid-value")
    from architectures.interface import Unsupported
    from bench.evaluation.generation import continue_text, decoding_form
    from bench.training import load

    trained = load(args.run, args.device)
    if trained.damaged_values:
        raise UserError(f"{args.run} cannot write: its weights are damaged", "unreadable-file")
    try:
        model = decoding_form(trained, args.decode, args.tokens)
        text = continue_text(
            model, trained.vocabulary, args.prompt, args.tokens, args.temperature, args.seed
        )
    except Unsupported as reason:
        raise UserError(f"{args.run} cannot write: {reason}", "not-supported") from None
    print(args.prompt + text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
