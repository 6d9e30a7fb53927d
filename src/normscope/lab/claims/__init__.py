"""One claim a file; `normscope.lab.table` names them in their order."""
