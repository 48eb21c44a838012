"""A contract for import-linter: code outside of a room imports the room's package, and none of its modules."""

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class FaceContract(Contract):
    """`rooms` are packages; only a room's own modules may import its modules."""

    rooms = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: FBT001 import-linter's signature
        """Find imports of a room's modules from outside."""
        del verbose
        past = [
            f"{importer} imports {module}: import it from {room}"
            for room in self.rooms  # type: ignore[attr-defined] # a field is replaced by its value
            for module in sorted(graph.find_descendants(str(room)))
            for importer in sorted(graph.find_modules_that_directly_import(module))
            if importer != room and not importer.startswith(f"{room}.")
        ]
        return ContractCheck(kept=not past, metadata={"past": past})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print each of these imports."""
        for line in check.metadata["past"]:
            output.print_error(line)
