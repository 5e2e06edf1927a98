//! Figures that are added up over runs, and printed in the order in which they are declared.

/// Makes a struct of figures, each declared as `field: "the name it is printed under"`.
macro_rules! figures {
    ($(#[$about:meta])* pub struct $counts:ident { $($(#[$what:meta])* $field:ident: $name:expr,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $counts {
            $($(#[$what])* pub $field: u64,)*
        }

        impl $counts {
            /// Adds another run's figures.
            pub fn add(&mut self, other: Self) {
                $(self.$field += other.$field;)*
            }

            /// All figures with their names.
            pub fn figures(self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field)),*]
            }
        }
    };
}
pub(crate) use figures;
