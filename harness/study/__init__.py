"""The question: study files, their arms and spaces, presets, and what may extend a study."""
