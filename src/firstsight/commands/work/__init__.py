"""The work of the verbs that have no package of their own. Heavy: a verb imports it when it runs."""
