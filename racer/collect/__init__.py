"""From a pool and a file of queries to an outcome table: every model asked, every answer graded, nothing paid twice."""
